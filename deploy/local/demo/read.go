package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

func (s *story) signIn(ctx context.Context) (string, error) {
	p := s.People.Person(seed.Smith)
	client, err := seed.Client(s.Place, p)
	if err != nil {
		return "", err
	}
	var half authv1.SignInResponse
	if err := client.Call(ctx, http.MethodPost, "/v1/auth:signIn", &authv1.SignInRequest{Username: p.Username, Password: p.Password}, &half); err != nil {
		return "", err
	}
	onefactor := client.With(half.GetSessionToken())
	refused := onefactor.Call(ctx, http.MethodPost, "/v1/patients:search", s.bySSN(), nil)
	if err := expect(refused, codes.PermissionDenied, codes.Unauthenticated); err != nil {
		return "", fmt.Errorf("a session with a password alone: %w", err)
	}
	if err := onefactor.Call(ctx, http.MethodPost, "/v1/auth:signOut", &authv1.SignOutRequest{}, nil); err != nil {
		return "", err
	}
	smith, err := s.as(ctx, seed.Smith)
	if err != nil {
		return "", err
	}
	var self authv1.Self
	if err := smith.Call(ctx, http.MethodGet, "/v1/self", nil, &self); err != nil {
		return "", err
	}
	if self.GetAssurance() != accessv1.Assurance_ASSURANCE_AAL2 {
		return "", fmt.Errorf("the session has %s", self.GetAssurance())
	}
	return fmt.Sprintf("one factor: %s; two factors: %s with %d permissions", reason(refused), self.GetAssurance(), len(self.GetPermissions())), nil
}

func (s *story) bySSN() *recordsv1.SearchPatientsRequest {
	return &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Identifier{
		Identifier: &recordsv1.Identifier{System: ssnSystem, Value: s.chart.ssn},
	}}
}

func (s *story) search(ctx context.Context) (string, error) {
	smith, err := s.as(ctx, seed.Smith)
	if err != nil {
		return "", err
	}
	var found recordsv1.SearchPatientsResponse
	if err := smith.Call(ctx, http.MethodPost, "/v1/patients:search", s.bySSN(), &found); err != nil {
		return "", err
	}
	if len(found.GetPatients()) != 1 || found.GetPatients()[0].GetName() != "patients/"+s.chart.id {
		return "", fmt.Errorf("found %d patients, not the one", len(found.GetPatients()))
	}
	got := found.GetPatients()[0]
	if got.GetFamilyName() != s.chart.patient.Name[0].Family || got.GetBirthDate() != s.chart.patient.BirthDate {
		return "", errors.New("the patient that was found is not the one that went in")
	}
	return fmt.Sprintf("%s → %s, %s %s", s.chart.ssn, got.GetName(), got.GetGivenNames()[0], got.GetFamilyName()), nil
}

func (s *story) readChart(ctx context.Context) (string, error) {
	smith, err := s.as(ctx, seed.Smith)
	if err != nil {
		return "", err
	}
	name := "/v1/patients/" + s.chart.id
	var patient recordsv1.Patient
	var prescriptions recordsv1.ListPrescriptionsResponse
	var notes recordsv1.ListNotesResponse
	if err := errors.Join(
		smith.Call(ctx, http.MethodGet, name, nil, &patient),
		smith.Call(ctx, http.MethodGet, name+"/prescriptions", nil, &prescriptions),
		smith.Call(ctx, http.MethodGet, name+"/notes", nil, &notes),
	); err != nil {
		return "", err
	}
	if got, want := len(prescriptions.GetPrescriptions()), min(100, s.chart.count("MedicationRequest")); got != want {
		return "", fmt.Errorf("%d prescriptions instead of %d", got, want)
	}
	if len(patient.GetNationalIdentifiers()) == 0 {
		return "", errors.New("a doctor must see the national identifiers")
	}
	compared := 0
	digest := sha256.New()
	for _, kind := range []string{"Patient", "Encounter", "Observation", "Condition", "MedicationRequest"} {
		e := s.chart.first(kind)
		if e == nil {
			continue
		}
		answer, err := smith.Send(ctx, http.MethodGet, "/v1/fhir/"+kind+"/"+e.id, nil)
		if err != nil {
			return "", err
		}
		if answer.Status != http.StatusOK || !bytes.Equal(answer.Body, e.raw) {
			return "", fmt.Errorf("%s/%s reads back differently (HTTP %d, %d bytes instead of %d)", kind, e.id, answer.Status, len(answer.Body), len(e.raw))
		}
		digest.Write(answer.Body)
		compared++
	}
	return fmt.Sprintf("patient, %d prescriptions, %d notes; %d raw FHIR resources equal, SHA-256 %x…",
		len(prescriptions.GetPrescriptions()), len(notes.GetNotes()), compared, digest.Sum(nil)[:8]), nil
}

// expect makes sure that an error is a refusal with one of the codes.
func expect(err error, allowed ...codes.Code) error {
	var refusal *api.Refusal
	if !errors.As(err, &refusal) {
		return fmt.Errorf("it was not refused: %w", err)
	}
	for _, code := range allowed {
		if refusal.Code == code {
			return nil
		}
	}
	return err
}

func reason(err error) string {
	var refusal *api.Refusal
	if errors.As(err, &refusal) {
		return fmt.Sprintf("%d %s", refusal.Status, refusal.Reason)
	}
	return fmt.Sprint(err)
}
