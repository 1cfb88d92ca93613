package schedule

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

// Schedule runs the operations. Safe for concurrent use.
type Schedule struct {
	chart *chart.Chart
	now   func() time.Time
}

// New makes a Schedule; now is the server's clock.
func New(c *chart.Chart, now func() time.Time) *Schedule { return &Schedule{c, now} }

// ahead is how far into the future an appointment may lie.
const ahead = 2 * 366 * 24 * time.Hour

var (
	errNoHours = errs.New(errs.KindPrecondition, "HOURS_MISSING", "The practice has set no working hours: its administrator sets workingHours/practice first.")
	errPast    = errs.New(errs.KindInvalid, "START_PAST", "An appointment is booked for a time to come: create it with its times if it took place already.").
			WithField("start_time", "lies in the past")
	errAhead = errs.New(errs.KindInvalid, "START_TOO_FAR", "An appointment is booked at most two years ahead.").
			WithField("start_time", "lies more than two years ahead")
	errNotYours = errs.New(errs.KindDenied, "HOURS_NOT_YOURS", "These are the working hours of somebody else: a doctor, the doctor's staff and the administrator set a doctor's, the administrator sets the practice's.")
	errOver     = errs.New(errs.KindPrecondition, "APPOINTMENT_OVER", "The appointment was cancelled, took place or was missed: book another one.")
	errNobodys  = errs.New(errs.KindPrecondition, "NO_DOCTOR", "The appointment names no doctor: name one.").
			WithField("doctor", "is required")
)

// Read returns working hours; the nil doctor is the practice. Where none are set they are empty.
func (s *Schedule) Read(ctx context.Context, doctor uuid.UUID) (chart.Document, *recordsv1.WorkingHours, error) {
	id, err := settingID(ctx, doctor)
	if err != nil {
		return chart.Document{}, nil, err
	}
	doc, err := s.chart.Read(ctx, chart.Place{Type: chart.TypeWorkingHours, ID: id})
	if err != nil {
		return doc, nil, err
	}
	w, err := parse(doc)
	return doc, w, err
}

// List returns all working hours of the practice.
func (s *Schedule) List(ctx context.Context, page chart.Page) ([]chart.Document, []*recordsv1.WorkingHours, string, error) {
	docs, next, err := s.chart.List(ctx, uuid.Nil, chart.TypeWorkingHours, page)
	if err != nil {
		return nil, nil, "", err
	}
	out := make([]*recordsv1.WorkingHours, len(docs))
	for i, d := range docs {
		if out[i], err = parse(d); err != nil {
			return nil, nil, "", err
		}
	}
	return docs, out, next, nil
}

// Set stores working hours.
func (s *Schedule) Set(ctx context.Context, doctor uuid.UUID, w *recordsv1.WorkingHours) (chart.Document, error) {
	who, ok := caller.From(ctx)
	if !ok || !who.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE) && !slices.Contains(who.Subjects(), doctor) {
		return chart.Document{}, errNotYours
	}
	if err := check(w, doctor == uuid.Nil); err != nil {
		return chart.Document{}, err
	}
	id, err := settingID(ctx, doctor)
	if err != nil {
		return chart.Document{}, err
	}
	stored := proto.CloneOf(w)
	stored.Name, stored.Etag, stored.UpdateTime = "", "", nil
	content, err := protojson.Marshal(stored)
	if err != nil {
		return chart.Document{}, err
	}
	return s.chart.Set(ctx, chart.TypeWorkingHours, id, w.GetEtag(), content)
}

// settingID is under which id hours are stored: the doctor's own, or the practice's.
func settingID(ctx context.Context, doctor uuid.UUID) (uuid.UUID, error) {
	who, ok := caller.From(ctx)
	if !ok || who.Practice == uuid.Nil {
		return uuid.Nil, errs.New(errs.KindPrecondition, "NO_PRACTICE", "This needs a user who belongs to a practice.")
	}
	if doctor == uuid.Nil {
		return who.Practice, nil
	}
	return doctor, nil
}

func parse(d chart.Document) (*recordsv1.WorkingHours, error) {
	w := &recordsv1.WorkingHours{}
	return w, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(d.JSON, w)
}

// hours reads the hours that hold for a doctor; for the nil doctor those of the practice.
func (s *Schedule) hours(ctx context.Context, doctor uuid.UUID) (*Hours, error) {
	practice, err := s.setting(ctx, uuid.Nil)
	if err != nil {
		return nil, err
	}
	if practice == nil {
		return nil, errNoHours
	}
	var own *recordsv1.WorkingHours
	if doctor != uuid.Nil {
		if own, err = s.setting(ctx, doctor); err != nil {
			return nil, err
		}
	}
	return newHours(practice, own)
}

func (s *Schedule) setting(ctx context.Context, doctor uuid.UUID) (*recordsv1.WorkingHours, error) {
	id, err := settingID(ctx, doctor)
	if err != nil {
		return nil, err
	}
	doc, found, err := s.chart.Setting(ctx, chart.TypeWorkingHours, id)
	if err != nil || !found {
		return nil, err
	}
	return parse(doc)
}

// Free returns the slots of a doctor's day that can be booked, and the practice's zone.
func (s *Schedule) Free(ctx context.Context, doctor uuid.UUID, date string) ([]chart.Span, *time.Location, error) {
	d, err := dayOf(date)
	if err != nil {
		return nil, nil, err
	}
	h, err := s.hours(ctx, doctor)
	if err != nil {
		return nil, nil, err
	}
	held, err := s.chart.Held(ctx, doctor, d.span(h.Zone))
	if err != nil {
		return nil, nil, err
	}
	var free []chart.Span
	for _, slot := range h.slots(d) {
		if s.inTime(slot.Start) == nil && !held(slot) {
			free = append(free, slot)
		}
	}
	return free, h.Zone, nil
}

func (s *Schedule) inTime(start time.Time) error {
	now := s.now()
	switch {
	case start.Before(now):
		return errPast
	case start.After(now.Add(ahead)):
		return errAhead
	}
	return nil
}

// Booking is what a client asks for; a zero End is one slot.
type Booking struct {
	Patient, Doctor uuid.UUID
	Start, End      time.Time
	Reason          string
	Request         chart.Request
}

// Book makes an appointment in free slots.
func (s *Schedule) Book(ctx context.Context, b Booking) (chart.Document, error) {
	return s.chart.Create(ctx, b.Patient, fhir.TypeAppointment, b.Request, func(id uuid.UUID, _ time.Time) ([]byte, error) {
		if err := s.chart.MayBook(ctx, b.Doctor, b.Patient, b.Start); err != nil {
			return nil, err
		}
		span, err := s.fit(ctx, b.Doctor, b.Start, b.End)
		if err != nil {
			return nil, err
		}
		return fhir.NewAppointment(id, b.Patient, &recordsv1.Appointment{
			StartTime: timestamppb.New(span.Start), EndTime: timestamppb.New(span.End), Status: "booked",
			Practitioner: user(b.Doctor), Reason: b.Reason,
		})
	})
}

func (s *Schedule) fit(ctx context.Context, doctor uuid.UUID, start, end time.Time) (chart.Span, error) {
	if err := s.inTime(start); err != nil {
		return chart.Span{}, err
	}
	h, err := s.hours(ctx, doctor)
	if err != nil {
		return chart.Span{}, err
	}
	return h.fit(start, end)
}

func user(doctor uuid.UUID) string { return "users/" + doctor.String() }

// Move gives an appointment other slots, and with a doctor also another doctor.
func (s *Schedule) Move(ctx context.Context, at chart.Place, etag string, doctor uuid.UUID, start, end time.Time) (chart.Document, error) {
	return s.chart.Update(ctx, at, etag, func(doc []byte) ([]byte, error) {
		a := fhir.AppointmentView(doc)
		if !slices.Contains([]string{"proposed", "pending", "booked"}, a.GetStatus()) {
			return nil, errOver
		}
		if doctor != uuid.Nil && a.GetPractitioner() != user(doctor) {
			if err := s.chart.MayBook(ctx, doctor, at.Patient, start); err != nil {
				return nil, err
			}
			a.Practitioner = user(doctor)
		}
		if a.GetPractitioner() == "" {
			return nil, errNobodys
		}
		if end.IsZero() && a.StartTime != nil && a.EndTime != nil {
			end = start.Add(a.GetEndTime().AsTime().Sub(a.GetStartTime().AsTime()))
		}
		span, err := s.fit(ctx, uuid.MustParse(a.GetPractitioner()[len("users/"):]), start, end)
		if err != nil {
			return nil, err
		}
		a.StartTime, a.EndTime = timestamppb.New(span.Start), timestamppb.New(span.End)
		return fhir.PatchAppointment(doc, a, []string{"start_time", "end_time", "practitioner"})
	})
}

// Cancel ends an appointment that is still to come and frees its slots.
func (s *Schedule) Cancel(ctx context.Context, at chart.Place, etag string) (chart.Document, error) {
	return s.chart.Update(ctx, at, etag, func(doc []byte) ([]byte, error) {
		a := fhir.AppointmentView(doc)
		if !slices.Contains([]string{"proposed", "pending", "booked", "waitlist"}, a.GetStatus()) {
			return nil, errOver
		}
		a.Status = "cancelled"
		return fhir.PatchAppointment(doc, a, []string{"status"})
	})
}

// Calendar returns the appointments of a day of a doctor, or with the nil doctor of the practice.
func (s *Schedule) Calendar(ctx context.Context, doctor uuid.UUID, date string, page chart.Page) ([]chart.Document, string, *time.Location, error) {
	d, err := dayOf(date)
	if err != nil {
		return nil, "", nil, err
	}
	h, err := s.hours(ctx, uuid.Nil)
	if err != nil {
		return nil, "", nil, err
	}
	docs, next, err := s.chart.Calendar(ctx, doctor, d.span(h.Zone), page)
	return docs, next, h.Zone, err
}
