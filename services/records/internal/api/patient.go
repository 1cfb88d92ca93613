package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/search"
)

func showPatient(d chart.Document) *recordsv1.Patient {
	p := fhir.PatientView(d.JSON)
	l := labelOf(patients+d.ID.String(), d)
	p.Name, p.CreateTime, p.UpdateTime, p.Etag = l.name, l.created, l.updated, l.etag
	return p
}

func showPatients(docs []chart.Document) []*recordsv1.Patient {
	out := make([]*recordsv1.Patient, len(docs))
	for i, d := range docs {
		out[i] = showPatient(d)
	}
	return out
}

func patientPlace(field, name string) (chart.Place, error) {
	id, err := patientID(field, name)
	return chart.Place{Type: fhir.TypePatient, Patient: id, ID: id}, err
}

// GetPatient implements the RPC.
func (s *Service) GetPatient(ctx context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
	at, err := patientPlace("name", r.GetName())
	if err != nil {
		return nil, err
	}
	d, err := s.chart.Read(ctx, at)
	if err != nil {
		return nil, err
	}
	return showPatient(d), nil
}

// ListPatients implements the RPC.
func (s *Service) ListPatients(ctx context.Context, r *recordsv1.ListPatientsRequest) (*recordsv1.ListPatientsResponse, error) {
	docs, next, err := s.chart.ListPatients(ctx, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	return &recordsv1.ListPatientsResponse{Patients: showPatients(docs), NextPageToken: next}, nil
}

// CreatePatient implements the RPC.
func (s *Service) CreatePatient(ctx context.Context, r *recordsv1.CreatePatientRequest) (*recordsv1.Patient, error) {
	if r.GetPatient() == nil {
		return nil, required("patient")
	}
	req, err := request(r.GetRequestId(), r)
	if err != nil {
		return nil, err
	}
	d, err := s.chart.CreatePatient(ctx, req, func(id uuid.UUID, _ time.Time) ([]byte, error) {
		return fhir.NewPatient(id, r.GetPatient())
	})
	if err != nil {
		return nil, err
	}
	return showPatient(d), nil
}

// UpdatePatient implements the RPC.
func (s *Service) UpdatePatient(ctx context.Context, r *recordsv1.UpdatePatientRequest) (*recordsv1.Patient, error) {
	if r.GetPatient() == nil {
		return nil, required("patient")
	}
	at, err := patientPlace("patient.name", r.GetPatient().GetName())
	if err != nil {
		return nil, err
	}
	d, err := update(ctx, s.chart, at, r.GetPatient().GetEtag(), r.GetUpdateMask(), r.GetPatient(), fhir.PatchPatient)
	if err != nil {
		return nil, err
	}
	return showPatient(d), nil
}

// DeletePatient implements the RPC.
func (s *Service) DeletePatient(ctx context.Context, r *recordsv1.DeletePatientRequest) (*recordsv1.DeletePatientResponse, error) {
	at, err := patientPlace("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.chart.Delete(ctx, at, r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeletePatientResponse{}, nil
}

const defaultSearch = 100

// SearchPatients implements the RPC.
func (s *Service) SearchPatients(ctx context.Context, r *recordsv1.SearchPatientsRequest) (*recordsv1.SearchPatientsResponse, error) {
	limit := int(r.GetPageSize())
	if limit == 0 {
		limit = defaultSearch
	}
	var query *search.Query
	switch q := r.GetQuery().(type) {
	case *recordsv1.SearchPatientsRequest_Identifier:
		query = search.Identifier(q.Identifier.GetSystem(), q.Identifier.GetValue(), limit)
	case *recordsv1.SearchPatientsRequest_Phone:
		query = search.Phone(q.Phone, limit)
	case *recordsv1.SearchPatientsRequest_Name:
		query = search.Name(q.Name.GetFamilyName(), q.Name.GetGivenName(), q.Name.GetBirthDate(), limit)
	default:
		return nil, required("query")
	}
	found, err := s.search.Run(ctx, query)
	if err != nil {
		return nil, err
	}
	return &recordsv1.SearchPatientsResponse{Patients: showPatients(found.Documents)}, nil
}
