package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// offCareTeam compares whole answers: about a patient of somebody else, and about
// an id that was never given. A difference would tell that the patient exists.
func (s *story) offCareTeam(ctx context.Context) (string, error) {
	jones, err := s.as(ctx, seed.Jones)
	if err != nil {
		return "", err
	}
	paths := []string{"/v1/patients/ID", "/v1/patients/ID/prescriptions", "/v1/patients/ID/notes", "/v1/patients/ID/careTeam", "/v1/fhir/Patient/ID"}
	var shown string
	for _, path := range paths {
		real, err := jones.Send(ctx, http.MethodGet, strings.ReplaceAll(path, "ID", s.chart.id), nil)
		if err != nil {
			return "", err
		}
		random, err := jones.Send(ctx, http.MethodGet, strings.ReplaceAll(path, "ID", uuid.NewString()), nil)
		if err != nil {
			return "", err
		}
		if real.Status != http.StatusNotFound || random.Status != real.Status || !bytes.Equal(real.Body, random.Body) {
			return "", fmt.Errorf("%s: HTTP %d %s for a real patient, %d %s for a random id", path, real.Status, real.Body, random.Status, random.Body)
		}
		if unlike := differentHeaders(real, random); unlike != "" {
			return "", fmt.Errorf("%s: the header %s tells the two apart", path, unlike)
		}
		shown = string(real.Body)
	}
	var found recordsv1.SearchPatientsResponse
	if err := jones.Call(ctx, http.MethodPost, "/v1/patients:search", s.bySSN(), &found); err != nil {
		return "", err
	}
	if len(found.GetPatients()) != 0 {
		return "", errors.New("the search shows the patient")
	}
	return fmt.Sprintf("%d paths answer 404 alike, the search finds nobody: %s", len(paths), shown), nil
}

// differentHeaders names a header that the answers do not share; of time and
// trace every answer has its own.
func differentHeaders(a, b *api.Answer) string {
	for name := range a.Header {
		switch name {
		case "Date", "Traceparent", "X-Request-Id", "X-Trace-Id":
			continue
		}
		if a.Header.Get(name) != b.Header.Get(name) {
			return name
		}
	}
	return ""
}

func (s *story) receptionist(ctx context.Context) (string, error) {
	desk, err := s.as(ctx, seed.Receptionist)
	if err != nil {
		return "", err
	}
	name := "/v1/patients/" + s.chart.id
	var appointments recordsv1.ListAppointmentsResponse
	if err := desk.Call(ctx, http.MethodGet, name+"/appointments", nil, &appointments); err != nil {
		return "", err
	}
	seen := false
	for _, a := range appointments.GetAppointments() {
		seen = seen || a.GetName() == s.written.appointment
		if a.GetReason() != "" {
			return "", errors.New("the receptionist sees why the patient comes")
		}
	}
	if !seen {
		return "", errors.New("the receptionist does not see the appointment")
	}
	var patient recordsv1.Patient
	if err := desk.Call(ctx, http.MethodGet, name, nil, &patient); err != nil {
		return "", err
	}
	if len(patient.GetNationalIdentifiers()) != 0 || patient.GetFamilyName() == "" {
		return "", errors.New("the receptionist must see the name and no national identifier")
	}
	refused := desk.Call(ctx, http.MethodGet, name+"/prescriptions", nil, nil)
	if err := expect(refused, codes.PermissionDenied); err != nil {
		return "", fmt.Errorf("prescriptions: %w", err)
	}
	raw := desk.Call(ctx, http.MethodGet, "/v1/fhir/Patient/"+s.chart.id, nil, nil)
	if err := expect(raw, codes.PermissionDenied); err != nil {
		return "", fmt.Errorf("raw FHIR: %w", err)
	}
	return fmt.Sprintf("%d appointments without a reason; name yes, national identifiers 0; prescriptions %s, raw FHIR %s",
		len(appointments.GetAppointments()), reason(refused), reason(raw)), nil
}
