package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/life"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Lifecycle implements the lifecycle API.
type Lifecycle struct {
	recordsv1.UnimplementedLifecycleServiceServer
	life *life.Life
}

// NewLifecycle makes the service.
func NewLifecycle(l *life.Life) *Lifecycle { return &Lifecycle{life: l} }

const (
	legalHolds = "legalHolds/"
	erasures   = "erasures/"
)

func oneID(field, name, collection string) (uuid.UUID, error) {
	list, err := ids(field, name, collection)
	if err != nil {
		return uuid.Nil, err
	}
	return list[0], nil
}

func showHold(h life.Hold, err error) (*recordsv1.LegalHold, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.LegalHold{
		Name: legalHolds + h.ID.String(), Reason: recordsv1.LegalHoldReason(h.Reason), Matter: h.Matter,
		PlacedBy: "users/" + h.PlacedBy.String(), PlaceTime: timestamppb.New(h.Placed),
	}
	if h.Patient != uuid.Nil {
		out.Patient = patients + h.Patient.String()
	}
	if h.ReleasedBy != uuid.Nil {
		out.ReleasedBy, out.ReleaseTime = "users/"+h.ReleasedBy.String(), timestamppb.New(h.Released)
	}
	return out, nil
}

// PlaceLegalHold implements the RPC.
func (s *Lifecycle) PlaceLegalHold(ctx context.Context, r *recordsv1.PlaceLegalHoldRequest) (*recordsv1.LegalHold, error) {
	patient := uuid.Nil
	if r.GetPatient() != "" {
		var err error
		if patient, err = patientID("patient", r.GetPatient()); err != nil {
			return nil, err
		}
	}
	return showHold(s.life.Place(ctx, patient, int16(r.GetReason()), r.GetMatter()))
}

// ReleaseLegalHold implements the RPC.
func (s *Lifecycle) ReleaseLegalHold(ctx context.Context, r *recordsv1.ReleaseLegalHoldRequest) (*recordsv1.LegalHold, error) {
	id, err := oneID("name", r.GetName(), "legalHolds")
	if err != nil {
		return nil, err
	}
	return showHold(s.life.Release(ctx, id))
}

// ListLegalHolds implements the RPC.
func (s *Lifecycle) ListLegalHolds(ctx context.Context, r *recordsv1.ListLegalHoldsRequest) (*recordsv1.ListLegalHoldsResponse, error) {
	list, next, err := s.life.Holds(ctx, r.GetShowReleased(), life.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListLegalHoldsResponse{NextPageToken: next}
	for _, h := range list {
		shown, _ := showHold(h, nil)
		out.LegalHolds = append(out.LegalHolds, shown)
	}
	return out, nil
}

// GetRetention implements the RPC.
func (s *Lifecycle) GetRetention(ctx context.Context, _ *recordsv1.GetRetentionRequest) (*recordsv1.Retention, error) {
	k, err := s.life.Retention(ctx)
	if err != nil {
		return nil, err
	}
	return &recordsv1.Retention{Years: int32(k.Years), AutomaticPurge: k.Automatic}, nil
}

// UpdateRetention implements the RPC.
func (s *Lifecycle) UpdateRetention(ctx context.Context, r *recordsv1.UpdateRetentionRequest) (*recordsv1.Retention, error) {
	if err := s.life.SetRetention(ctx, int(r.GetYears()), r.GetAutomaticPurge()); err != nil {
		return nil, err
	}
	return &recordsv1.Retention{Years: r.GetYears(), AutomaticPurge: r.GetAutomaticPurge()}, nil
}

// PurgePatients implements the RPC.
func (s *Lifecycle) PurgePatients(ctx context.Context, r *recordsv1.PurgePatientsRequest) (*recordsv1.PurgePatientsResponse, error) {
	report, err := s.life.Purge(ctx, r.GetDryRun(), int(r.GetLimit()))
	if err != nil {
		return nil, err
	}
	return &recordsv1.PurgePatientsResponse{
		Patients: patientNames(report.Patients), Held: patientNames(report.Held), Skipped: int32(report.Skipped), More: report.More,
	}, nil
}

func patientNames(list []uuid.UUID) []string {
	names := make([]string, len(list))
	for i, id := range list {
		names[i] = patients + id.String()
	}
	return names
}

func showErasure(e store.Erasure, err error) (*recordsv1.Erasure, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.Erasure{
		Name: erasures + e.ID.String(), Patient: patients + e.Patient.String(), State: recordsv1.ErasureState(e.State),
		Ground: recordsv1.ErasureGround(e.Ground), Exemption: recordsv1.ErasureExemption(e.Exemption), Citation: life.Citation(e.Ground, e.Exemption),
		RequestedBy: "users/" + e.RequestedBy.String(), RequestTime: timestamppb.New(e.Requested), Certificate: e.Certificate,
	}
	if e.DecidedBy != uuid.Nil {
		out.DecidedBy, out.DecideTime = "users/"+e.DecidedBy.String(), timestamppb.New(e.Decided)
	}
	return out, nil
}

// RequestErasure implements the RPC.
func (s *Lifecycle) RequestErasure(ctx context.Context, r *recordsv1.RequestErasureRequest) (*recordsv1.Erasure, error) {
	patient, err := patientID("patient", r.GetPatient())
	if err != nil {
		return nil, err
	}
	return showErasure(s.life.Request(ctx, patient, int16(r.GetGround())))
}

// DecideErasure implements the RPC.
func (s *Lifecycle) DecideErasure(ctx context.Context, r *recordsv1.DecideErasureRequest) (*recordsv1.Erasure, error) {
	id, err := oneID("name", r.GetName(), "erasures")
	if err != nil {
		return nil, err
	}
	if r.GetGrant() {
		return showErasure(s.life.Grant(ctx, id))
	}
	return showErasure(s.life.Refuse(ctx, id, int16(r.GetExemption())))
}

// GetErasure implements the RPC.
func (s *Lifecycle) GetErasure(ctx context.Context, r *recordsv1.GetErasureRequest) (*recordsv1.Erasure, error) {
	id, err := oneID("name", r.GetName(), "erasures")
	if err != nil {
		return nil, err
	}
	return showErasure(s.life.Erasure(ctx, id))
}

// ListErasures implements the RPC.
func (s *Lifecycle) ListErasures(ctx context.Context, r *recordsv1.ListErasuresRequest) (*recordsv1.ListErasuresResponse, error) {
	list, next, err := s.life.Erasures(ctx, life.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListErasuresResponse{NextPageToken: next}
	for _, e := range list {
		shown, _ := showErasure(e, nil)
		out.Erasures = append(out.Erasures, shown)
	}
	return out, nil
}

// ReapplyErasure implements the RPC.
func (s *Lifecycle) ReapplyErasure(ctx context.Context, r *recordsv1.ReapplyErasureRequest) (*recordsv1.Erasure, error) {
	return showErasure(s.life.Reapply(ctx, r.GetCertificate()))
}

// GetCertificateKeys implements the RPC.
func (s *Lifecycle) GetCertificateKeys(ctx context.Context, _ *recordsv1.GetCertificateKeysRequest) (*recordsv1.CertificateKeys, error) {
	keys, err := s.life.CertificateKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &recordsv1.CertificateKeys{Keys: keys}, nil
}
