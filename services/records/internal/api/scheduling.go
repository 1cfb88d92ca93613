package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/schedule"
)

// Scheduling implements the scheduling API.
type Scheduling struct {
	recordsv1.UnimplementedSchedulingServiceServer
	schedule *schedule.Schedule
}

// NewScheduling makes the service.
func NewScheduling(s *schedule.Schedule) *Scheduling { return &Scheduling{schedule: s} }

const (
	workingHours  = "workingHours/"
	practiceHours = "practice"
)

// hoursOf reads "workingHours/{uuid}"; nil is the practice.
func hoursOf(field, name string) (uuid.UUID, error) {
	if name == workingHours+practiceHours {
		return uuid.Nil, nil
	}
	list, err := ids(field, name, "workingHours")
	if err != nil {
		return uuid.Nil, err
	}
	return list[0], nil
}

// userID reads "users/{uuid}"; an empty name is nil.
func userID(field, name string) (uuid.UUID, error) {
	if name == "" {
		return uuid.Nil, nil
	}
	list, err := ids(field, name, "users")
	if err != nil {
		return uuid.Nil, err
	}
	return list[0], nil
}

func showHours(ctx context.Context, d chart.Document, w *recordsv1.WorkingHours) *recordsv1.WorkingHours {
	w.Name = workingHours + d.ID.String()
	if c, ok := caller.From(ctx); ok && d.ID == c.Practice {
		w.Name = workingHours + practiceHours
	}
	w.Etag, w.UpdateTime = chart.Etag(d.Version), timestamppb.New(d.Updated)
	return w
}

// GetWorkingHours implements the RPC.
func (s *Scheduling) GetWorkingHours(ctx context.Context, r *recordsv1.GetWorkingHoursRequest) (*recordsv1.WorkingHours, error) {
	doctor, err := hoursOf("name", r.GetName())
	if err != nil {
		return nil, err
	}
	doc, w, err := s.schedule.Read(ctx, doctor)
	if err != nil {
		return nil, err
	}
	return showHours(ctx, doc, w), nil
}

// ListWorkingHours implements the RPC.
func (s *Scheduling) ListWorkingHours(ctx context.Context, r *recordsv1.ListWorkingHoursRequest) (*recordsv1.ListWorkingHoursResponse, error) {
	docs, list, next, err := s.schedule.List(ctx, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	for i, w := range list {
		showHours(ctx, docs[i], w)
	}
	return &recordsv1.ListWorkingHoursResponse{WorkingHours: list, NextPageToken: next}, nil
}

// UpdateWorkingHours implements the RPC.
func (s *Scheduling) UpdateWorkingHours(ctx context.Context, r *recordsv1.UpdateWorkingHoursRequest) (*recordsv1.WorkingHours, error) {
	doctor, err := hoursOf("working_hours.name", r.GetWorkingHours().GetName())
	if err != nil {
		return nil, err
	}
	doc, err := s.schedule.Set(ctx, doctor, r.GetWorkingHours())
	if err != nil {
		return nil, err
	}
	return showHours(ctx, doc, r.GetWorkingHours()), nil
}

// ListFreeSlots implements the RPC.
func (s *Scheduling) ListFreeSlots(ctx context.Context, r *recordsv1.ListFreeSlotsRequest) (*recordsv1.ListFreeSlotsResponse, error) {
	doctor, err := userID("doctor", r.GetDoctor())
	if err != nil {
		return nil, err
	}
	free, zone, err := s.schedule.Free(ctx, doctor, r.GetDate())
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListFreeSlotsResponse{TimeZone: zone.String()}
	for _, slot := range free {
		out.Slots = append(out.Slots, &recordsv1.FreeSlot{StartTime: timestamppb.New(slot.Start), EndTime: timestamppb.New(slot.End)})
	}
	return out, nil
}

// BookAppointment implements the RPC.
func (s *Scheduling) BookAppointment(ctx context.Context, r *recordsv1.BookAppointmentRequest) (*recordsv1.Appointment, error) {
	patient, err := patientID("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	doctor, err := userID("doctor", r.GetDoctor())
	if err != nil {
		return nil, err
	}
	once, err := request(r.GetRequestId(), r)
	if err != nil {
		return nil, err
	}
	d, err := s.schedule.Book(ctx, schedule.Booking{
		Patient: patient, Doctor: doctor, Start: r.GetStartTime().AsTime(), End: timeOf(r.GetEndTime()), Reason: r.GetReason(), Request: once,
	})
	if err != nil {
		return nil, err
	}
	return appointments.show(d), nil
}

// timeOf is zero where there is none.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// MoveAppointment implements the RPC.
func (s *Scheduling) MoveAppointment(ctx context.Context, r *recordsv1.MoveAppointmentRequest) (*recordsv1.Appointment, error) {
	at, err := appointments.place("name", r.GetName())
	if err != nil {
		return nil, err
	}
	doctor, err := userID("doctor", r.GetDoctor())
	if err != nil {
		return nil, err
	}
	d, err := s.schedule.Move(ctx, at, r.GetEtag(), doctor, r.GetStartTime().AsTime(), timeOf(r.GetEndTime()))
	if err != nil {
		return nil, err
	}
	return appointments.show(d), nil
}

// CancelAppointment implements the RPC.
func (s *Scheduling) CancelAppointment(ctx context.Context, r *recordsv1.CancelAppointmentRequest) (*recordsv1.Appointment, error) {
	at, err := appointments.place("name", r.GetName())
	if err != nil {
		return nil, err
	}
	d, err := s.schedule.Cancel(ctx, at, r.GetEtag())
	if err != nil {
		return nil, err
	}
	return appointments.show(d), nil
}

// ListCalendar implements the RPC.
func (s *Scheduling) ListCalendar(ctx context.Context, r *recordsv1.ListCalendarRequest) (*recordsv1.ListCalendarResponse, error) {
	doctor, err := userID("doctor", r.GetDoctor())
	if err != nil {
		return nil, err
	}
	docs, next, zone, err := s.schedule.Calendar(ctx, doctor, r.GetDate(), chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListCalendarResponse{NextPageToken: next, TimeZone: zone.String()}
	for _, d := range docs {
		out.Appointments = append(out.Appointments, appointments.show(d))
	}
	return out, nil
}
