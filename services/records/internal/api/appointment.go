package api

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

var appointments = kind[*recordsv1.Appointment]{
	resourceType: fhir.TypeAppointment,
	collection:   "appointments",
	view:         fhir.AppointmentView,
	build: func(id, patient uuid.UUID, a *recordsv1.Appointment, _ time.Time) ([]byte, error) {
		return fhir.NewAppointment(id, patient, a)
	},
	patch: fhir.PatchAppointment,
	label: func(a *recordsv1.Appointment, l label) {
		a.Name, a.CreateTime, a.UpdateTime, a.Etag = l.name, l.created, l.updated, l.etag
	},
}

// GetAppointment implements the RPC.
func (s *Service) GetAppointment(ctx context.Context, r *recordsv1.GetAppointmentRequest) (*recordsv1.Appointment, error) {
	return appointments.get(ctx, s.chart, r.GetName())
}

// ListAppointments implements the RPC.
func (s *Service) ListAppointments(ctx context.Context, r *recordsv1.ListAppointmentsRequest) (*recordsv1.ListAppointmentsResponse, error) {
	list, next, err := appointments.list(ctx, s.chart, r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &recordsv1.ListAppointmentsResponse{Appointments: list, NextPageToken: next}, nil
}

// CreateAppointment implements the RPC.
func (s *Service) CreateAppointment(ctx context.Context, r *recordsv1.CreateAppointmentRequest) (*recordsv1.Appointment, error) {
	if r.GetAppointment() == nil {
		return nil, required("appointment")
	}
	return s.booked(ctx, uuid.Nil).create(ctx, s.chart, r.GetParent(), r.GetRequestId(), r, r.GetAppointment())
}

// UpdateAppointment implements the RPC.
func (s *Service) UpdateAppointment(ctx context.Context, r *recordsv1.UpdateAppointmentRequest) (*recordsv1.Appointment, error) {
	if r.GetAppointment() == nil {
		return nil, required("appointment")
	}
	at, err := appointments.place("appointment.name", r.GetAppointment().GetName())
	if err != nil {
		return nil, err
	}
	return s.booked(ctx, at.Patient).update(ctx, s.chart, "appointment", r.GetAppointment().GetName(), r.GetAppointment().GetEtag(), r.GetUpdateMask(), r.GetAppointment())
}

// booked is appointments, and asks whether the doctor may be booked where a call takes the
// time of another doctor than before. It asks once the patient is known to be the caller's, so that
// nobody learns of others.
func (s *Service) booked(ctx context.Context, patient uuid.UUID) kind[*recordsv1.Appointment] {
	mayBook := func(patient uuid.UUID, a *recordsv1.Appointment) error {
		doctor, err := uuid.Parse(strings.TrimPrefix(a.GetPractitioner(), "users/"))
		if err != nil {
			return nil //nolint:nilerr // it names nobody, or what is wrong with the name is said where it is read
		}
		return s.chart.MayBook(ctx, doctor, patient, a.GetEndTime().AsTime())
	}
	k := appointments
	k.build = func(id, patient uuid.UUID, a *recordsv1.Appointment, now time.Time) ([]byte, error) {
		if err := mayBook(patient, a); err != nil {
			return nil, err
		}
		return appointments.build(id, patient, a, now)
	}
	k.patch = func(doc []byte, a *recordsv1.Appointment, fields []string) ([]byte, error) {
		next, err := appointments.patch(doc, a, fields)
		if err != nil {
			return nil, err
		}
		if after := appointments.view(next); after.GetPractitioner() != appointments.view(doc).GetPractitioner() {
			err = mayBook(patient, after)
		}
		return next, err
	}
	return k
}

// DeleteAppointment implements the RPC.
func (s *Service) DeleteAppointment(ctx context.Context, r *recordsv1.DeleteAppointmentRequest) (*recordsv1.DeleteAppointmentResponse, error) {
	if err := appointments.delete(ctx, s.chart, r.GetName(), r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeleteAppointmentResponse{}, nil
}
