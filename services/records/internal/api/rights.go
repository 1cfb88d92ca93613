package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/rights"
)

// RightsService implements the API of patients' rights.
type RightsService struct {
	recordsv1.UnimplementedRightsServiceServer
	rights *rights.Rights
}

// NewRights makes the service.
func NewRights(r *rights.Rights) *RightsService { return &RightsService{rights: r} }

func rightsPlace(name, collection string) (rights.Place, error) {
	list, err := ids("name", name, "patients", collection)
	if err != nil {
		return rights.Place{}, err
	}
	return rights.Place{Patient: list[0], ID: list[1]}, nil
}

// ofRequest runs an operation on the request of a name.
func ofRequest[T any](name string, run func(rights.Place) (T, error)) (T, error) {
	at, err := rightsPlace(name, "rightsRequests")
	if err != nil {
		var none T
		return none, err
	}
	return run(at)
}

// ofPatient runs an operation on the patient of a name.
func ofPatient[T any](name string, run func(uuid.UUID) (T, error)) (T, error) {
	patient, err := patientID("parent", name)
	if err != nil {
		var none T
		return none, err
	}
	return run(patient)
}

// CreateRightsRequest implements the RPC.
func (s *RightsService) CreateRightsRequest(ctx context.Context, r *recordsv1.CreateRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.RightsRequest, error) {
		return s.rights.Create(ctx, p, r.GetRightsRequest())
	})
}

// GetRightsRequest implements the RPC.
func (s *RightsService) GetRightsRequest(ctx context.Context, r *recordsv1.GetRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) { return s.rights.Get(ctx, at) })
}

// ListRightsRequests implements the RPC.
func (s *RightsService) ListRightsRequests(ctx context.Context, r *recordsv1.ListRightsRequestsRequest) (*recordsv1.ListRightsRequestsResponse, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.ListRightsRequestsResponse, error) {
		list, next, err := s.rights.List(ctx, p, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
		return &recordsv1.ListRightsRequestsResponse{RightsRequests: list, NextPageToken: next}, err
	})
}

// VerifyRequester implements the RPC.
func (s *RightsService) VerifyRequester(ctx context.Context, r *recordsv1.VerifyRequesterRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) {
		return s.rights.Verify(ctx, at, r.GetVerification())
	})
}

// PauseRightsRequest implements the RPC.
func (s *RightsService) PauseRightsRequest(ctx context.Context, r *recordsv1.PauseRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) { return s.rights.Pause(ctx, at, r.GetReason()) })
}

// ResumeRightsRequest implements the RPC.
func (s *RightsService) ResumeRightsRequest(ctx context.Context, r *recordsv1.ResumeRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) { return s.rights.Resume(ctx, at) })
}

// ExtendRightsRequest implements the RPC.
func (s *RightsService) ExtendRightsRequest(ctx context.Context, r *recordsv1.ExtendRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) {
		return s.rights.Extend(ctx, at, r.GetReason())
	})
}

// DecideRightsRequest implements the RPC.
func (s *RightsService) DecideRightsRequest(ctx context.Context, r *recordsv1.DecideRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) {
		return s.rights.Decide(ctx, at, &recordsv1.Decision{Granted: r.GetGranted(), Ground: r.GetGround(), Reason: r.GetReason()})
	})
}

// CompleteRightsRequest implements the RPC.
func (s *RightsService) CompleteRightsRequest(ctx context.Context, r *recordsv1.CompleteRightsRequestRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) {
		return s.rights.Complete(ctx, at, r.GetEvidence(), r.GetErasure())
	})
}

// AcceptAmendment implements the RPC.
func (s *RightsService) AcceptAmendment(ctx context.Context, r *recordsv1.AcceptAmendmentRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) {
		return s.rights.Amend(ctx, at, r.GetEtag(), r.GetContent())
	})
}

// FileStatement implements the RPC.
func (s *RightsService) FileStatement(ctx context.Context, r *recordsv1.FileStatementRequest) (*recordsv1.RightsRequest, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.RightsRequest, error) { return s.rights.State(ctx, at, r.GetText()) })
}

// IssuePatientToken implements the RPC.
func (s *RightsService) IssuePatientToken(ctx context.Context, r *recordsv1.IssuePatientTokenRequest) (*recordsv1.IssuePatientTokenResponse, error) {
	return ofRequest(r.GetName(), func(at rights.Place) (*recordsv1.IssuePatientTokenResponse, error) {
		token, expires, err := s.rights.Issue(ctx, at, time.Duration(r.GetValidHours())*time.Hour)
		if err != nil {
			return nil, err
		}
		return &recordsv1.IssuePatientTokenResponse{Token: token, ExpireTime: timestamppb.New(expires)}, nil
	})
}

type zipStream = grpc.ServerStreamingServer[httpbody.HttpBody]

// zipChunk bounds a message of a zip, well below gRPC's 4 MiB.
const zipChunk = 256 << 10

// zipWriter sends a zip in pieces.
type zipWriter struct{ stream zipStream }

func (w zipWriter) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		piece := p[sent:min(sent+zipChunk, len(p))]
		if err := w.stream.Send(&httpbody.HttpBody{ContentType: "application/zip", Data: piece}); err != nil {
			return sent, err
		}
		sent += len(piece)
	}
	return len(p), nil
}

// ExportChart implements the RPC.
func (s *RightsService) ExportChart(r *recordsv1.ExportChartRequest, stream zipStream) error {
	at, err := rightsPlace(r.GetName(), "rightsRequests")
	if err != nil {
		return err
	}
	return s.rights.Export(stream.Context(), at, zipWriter{stream})
}

// ViewRequestByToken implements the RPC.
func (s *RightsService) ViewRequestByToken(ctx context.Context, r *recordsv1.ViewRequestByTokenRequest) (*recordsv1.RightsRequest, error) {
	return s.rights.View(ctx, r.GetToken(), r.GetClient().GetAddress())
}

// ExportByToken implements the RPC.
func (s *RightsService) ExportByToken(r *recordsv1.ExportByTokenRequest, stream zipStream) error {
	return s.rights.ExportByToken(stream.Context(), r.GetToken(), r.GetClient().GetAddress(), zipWriter{stream})
}

// FileStatementByToken implements the RPC.
func (s *RightsService) FileStatementByToken(ctx context.Context, r *recordsv1.FileStatementByTokenRequest) (*recordsv1.RightsRequest, error) {
	return s.rights.StateByToken(ctx, r.GetToken(), r.GetClient().GetAddress(), r.GetText())
}

// RecordDisclosure implements the RPC.
func (s *RightsService) RecordDisclosure(ctx context.Context, r *recordsv1.RecordDisclosureRequest) (*recordsv1.Disclosure, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.Disclosure, error) {
		return s.rights.Disclose(ctx, p, r.GetDisclosure())
	})
}

// ListDisclosures implements the RPC.
func (s *RightsService) ListDisclosures(ctx context.Context, r *recordsv1.ListDisclosuresRequest) (*recordsv1.ListDisclosuresResponse, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.ListDisclosuresResponse, error) {
		list, next, err := s.rights.Disclosures(ctx, p, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
		return &recordsv1.ListDisclosuresResponse{Disclosures: list, NextPageToken: next}, err
	})
}

// SuspendAccounting implements the RPC.
func (s *RightsService) SuspendAccounting(ctx context.Context, r *recordsv1.SuspendAccountingRequest) (*recordsv1.Disclosure, error) {
	at, err := rightsPlace(r.GetName(), "disclosures")
	if err != nil {
		return nil, err
	}
	return s.rights.Suspend(ctx, at, r.GetSuspension())
}

// AccountDisclosures implements the RPC.
func (s *RightsService) AccountDisclosures(ctx context.Context, r *recordsv1.AccountDisclosuresRequest) (*recordsv1.AccountingOfDisclosures, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.AccountingOfDisclosures, error) {
		return s.rights.Account(ctx, p, r.GetFromTime())
	})
}

// RecordPatientConsent implements the RPC.
func (s *RightsService) RecordPatientConsent(ctx context.Context, r *recordsv1.RecordPatientConsentRequest) (*recordsv1.PatientConsent, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.PatientConsent, error) {
		return s.rights.RecordConsent(ctx, p, r.GetConsent())
	})
}

// WithdrawPatientConsent implements the RPC.
func (s *RightsService) WithdrawPatientConsent(ctx context.Context, r *recordsv1.WithdrawPatientConsentRequest) (*recordsv1.PatientConsent, error) {
	at, err := rightsPlace(r.GetName(), "consents")
	if err != nil {
		return nil, err
	}
	return s.rights.WithdrawConsent(ctx, at, r.GetEvidence())
}

// ListPatientConsents implements the RPC.
func (s *RightsService) ListPatientConsents(ctx context.Context, r *recordsv1.ListPatientConsentsRequest) (*recordsv1.ListPatientConsentsResponse, error) {
	return ofPatient(r.GetParent(), func(p uuid.UUID) (*recordsv1.ListPatientConsentsResponse, error) {
		list, next, err := s.rights.Consents(ctx, p, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
		return &recordsv1.ListPatientConsentsResponse{Consents: list, NextPageToken: next}, err
	})
}
