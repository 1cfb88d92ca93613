package api

import (
	"context"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

var prescriptions = kind[*recordsv1.Prescription]{
	resourceType: fhir.TypeMedicationRequest,
	collection:   "prescriptions",
	view:         fhir.PrescriptionView,
	build:        fhir.NewPrescription,
	patch:        fhir.PatchPrescription,
	label: func(p *recordsv1.Prescription, l label) {
		p.Name, p.CreateTime, p.UpdateTime, p.Etag = l.name, l.created, l.updated, l.etag
	},
}

// GetPrescription implements the RPC.
func (s *Service) GetPrescription(ctx context.Context, r *recordsv1.GetPrescriptionRequest) (*recordsv1.Prescription, error) {
	return prescriptions.get(ctx, s.chart, r.GetName())
}

// ListPrescriptions implements the RPC.
func (s *Service) ListPrescriptions(ctx context.Context, r *recordsv1.ListPrescriptionsRequest) (*recordsv1.ListPrescriptionsResponse, error) {
	list, next, err := prescriptions.list(ctx, s.chart, r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &recordsv1.ListPrescriptionsResponse{Prescriptions: list, NextPageToken: next}, nil
}

// CreatePrescription implements the RPC.
func (s *Service) CreatePrescription(ctx context.Context, r *recordsv1.CreatePrescriptionRequest) (*recordsv1.Prescription, error) {
	if r.GetPrescription() == nil {
		return nil, required("prescription")
	}
	return prescriptions.create(ctx, s.chart, r.GetParent(), r.GetRequestId(), r, r.GetPrescription())
}

// UpdatePrescription implements the RPC.
func (s *Service) UpdatePrescription(ctx context.Context, r *recordsv1.UpdatePrescriptionRequest) (*recordsv1.Prescription, error) {
	if r.GetPrescription() == nil {
		return nil, required("prescription")
	}
	return prescriptions.update(ctx, s.chart, "prescription", r.GetPrescription().GetName(), r.GetPrescription().GetEtag(), r.GetUpdateMask(), r.GetPrescription())
}

// DeletePrescription implements the RPC.
func (s *Service) DeletePrescription(ctx context.Context, r *recordsv1.DeletePrescriptionRequest) (*recordsv1.DeletePrescriptionResponse, error) {
	if err := prescriptions.delete(ctx, s.chart, r.GetName(), r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeletePrescriptionResponse{}, nil
}
