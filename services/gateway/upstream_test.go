package main

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
)

// sink takes events; what services do with them is not the gateway's business.
type sink struct{}

func (*sink) Record(context.Context, ...*auditv1.Event) error { return nil }

// committed is what a store does after it has committed an access with its event.
func committed(ctx context.Context) {
	r := evidence.From(ctx)
	r.Committed([]*auditv1.Event{r.Event()})
}

type authHandlers struct {
	authv1.UnimplementedAuthServiceServer
	signer *caller.Signer

	mu     sync.Mutex
	admits []*authv1.AdmitRequest
	// refuse makes Admit fail, signIn answers SignIn; both may be nil.
	refuse error
	signIn func(*authv1.SignInRequest) (*authv1.SignInResponse, error)
}

// admitted returns the admissions since the last call.
func (a *authHandlers) admitted() []*authv1.AdmitRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.admits
	a.admits = nil
	return found
}

func (a *authHandlers) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = err
}

func (a *authHandlers) Admit(_ context.Context, r *authv1.AdmitRequest) (*authv1.AdmitResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admits = append(a.admits, r)
	if a.refuse != nil {
		return nil, a.refuse
	}
	token, err := a.signer.Sign(caller.Caller{
		User: uuid.New(), Practice: uuid.New(), Session: uuid.New(), Username: "dr.smith",
		Role: accessv1.RoleKind_ROLE_KIND_DOCTOR, Assurance: accessv1.Assurance_ASSURANCE_AAL2,
		Permissions: everything(), Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
		Address: r.GetClient().GetAddress(), Audience: r.GetAudience(),
	}, time.Now())
	return &authv1.AdmitResponse{CallerToken: token}, err
}

func everything() access.Permissions {
	var all access.Permissions
	for number := range accessv1.Permission_name {
		if number != 0 {
			all.Add(accessv1.Permission(number))
		}
	}
	return all
}

func (a *authHandlers) SignIn(_ context.Context, r *authv1.SignInRequest) (*authv1.SignInResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signIn == nil {
		return &authv1.SignInResponse{SessionToken: sessionToken}, nil
	}
	return a.signIn(r)
}

func (a *authHandlers) VerifyTotp(context.Context, *authv1.VerifyTotpRequest) (*authv1.SignInResponse, error) {
	return &authv1.SignInResponse{SessionToken: "raised-" + sessionToken, Assurance: accessv1.Assurance_ASSURANCE_AAL2}, nil
}

func (a *authHandlers) SignOut(context.Context, *authv1.SignOutRequest) (*authv1.SignOutResponse, error) {
	return &authv1.SignOutResponse{}, nil
}

type recordsHandlers struct {
	recordsv1.UnimplementedRecordsServiceServer
	get    func(context.Context, *recordsv1.GetPatientRequest) (*recordsv1.Patient, error)
	update func(*recordsv1.UpdatePatientRequest)
	raw    []byte
	load   func(recordsv1.RecordsService_ImportBundleServer) error
	// seen is the metadata of the last GetPatient.
	seen metadata.MD
}

func (h *recordsHandlers) GetPatient(ctx context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
	h.seen, _ = metadata.FromIncomingContext(ctx)
	committed(ctx)
	if h.get != nil {
		return h.get(ctx, r)
	}
	return &recordsv1.Patient{Name: r.GetName(), FamilyName: "<b>O'Neil & Sons</b>"}, nil
}

func (h *recordsHandlers) UpdatePatient(ctx context.Context, r *recordsv1.UpdatePatientRequest) (*recordsv1.Patient, error) {
	committed(ctx)
	if h.update != nil {
		h.update(r)
	}
	return r.GetPatient(), nil
}

func (h *recordsHandlers) SearchPatients(ctx context.Context, _ *recordsv1.SearchPatientsRequest) (*recordsv1.SearchPatientsResponse, error) {
	committed(ctx)
	return &recordsv1.SearchPatientsResponse{}, nil
}

func (h *recordsHandlers) GetResource(ctx context.Context, _ *recordsv1.GetResourceRequest) (*httpbody.HttpBody, error) {
	committed(ctx)
	return &httpbody.HttpBody{ContentType: "application/fhir+json", Data: h.raw}, nil
}

func (h *recordsHandlers) ImportBundle(stream recordsv1.RecordsService_ImportBundleServer) error {
	committed(stream.Context())
	return h.load(stream)
}

type rightsHandlers struct {
	recordsv1.UnimplementedRightsServiceServer
	export func(*recordsv1.ExportByTokenRequest, grpc.ServerStreamingServer[httpbody.HttpBody]) error
}

func (h *rightsHandlers) ExportByToken(r *recordsv1.ExportByTokenRequest, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	committed(stream.Context())
	return h.export(r, stream)
}

func (h *rightsHandlers) ExportChart(r *recordsv1.ExportChartRequest, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	committed(stream.Context())
	return h.export(&recordsv1.ExportByTokenRequest{Token: r.GetName()}, stream)
}

type backupHandlers struct {
	backupv1.UnimplementedBackupServiceServer
	create func(grpc.ServerStreamingServer[backupv1.CreateBackupResponse]) error
}

func (h *backupHandlers) CreateBackup(_ *backupv1.CreateBackupRequest, stream backupv1.BackupService_CreateBackupServer) error {
	return h.create(stream)
}
