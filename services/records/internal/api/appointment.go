package api

import (
	"context"
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
	return appointments.create(ctx, s.chart, r.GetParent(), r.GetRequestId(), r, r.GetAppointment())
}

// UpdateAppointment implements the RPC.
func (s *Service) UpdateAppointment(ctx context.Context, r *recordsv1.UpdateAppointmentRequest) (*recordsv1.Appointment, error) {
	if r.GetAppointment() == nil {
		return nil, required("appointment")
	}
	return appointments.update(ctx, s.chart, "appointment", r.GetAppointment().GetName(), r.GetAppointment().GetEtag(), r.GetUpdateMask(), r.GetAppointment())
}

// DeleteAppointment implements the RPC.
func (s *Service) DeleteAppointment(ctx context.Context, r *recordsv1.DeleteAppointmentRequest) (*recordsv1.DeleteAppointmentResponse, error) {
	if err := appointments.delete(ctx, s.chart, r.GetName(), r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeleteAppointmentResponse{}, nil
}
