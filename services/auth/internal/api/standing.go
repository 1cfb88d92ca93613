package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/certification"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/standing"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// RecordTraining implements GovernanceService.
func (g *Governance) RecordTraining(ctx context.Context, r *authv1.RecordTrainingRequest) (*authv1.RecordTrainingResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	target, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	if err := line("course", r.GetCourse()); err != nil {
		return nil, err
	}
	until, err := g.Standing.Train(ctx, c, target, r.GetCourse(), r.GetCompleteTime().AsTime())
	if err != nil {
		return nil, err
	}
	return &authv1.RecordTrainingResponse{ValidUntil: timestamppb.New(until)}, nil
}

// AttestDevice implements GovernanceService.
func (g *Governance) AttestDevice(ctx context.Context, r *authv1.AttestDeviceRequest) (*authv1.AttestDeviceResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	row, err := g.Standing.Attest(ctx, c, standing.Posture{
		ScreenLock: r.GetScreenLock(), DiskEncryption: r.GetDiskEncryption(), Antivirus: r.GetAntivirus(),
	})
	if err != nil {
		return nil, err
	}
	return &authv1.AttestDeviceResponse{
		Device: "devices/" + row.Device.String(), ValidUntil: timestamppb.New(row.At.Add(standing.AttestedFor)),
	}, nil
}

// RecordBaa implements GovernanceService.
func (g *Governance) RecordBaa(ctx context.Context, r *authv1.RecordBaaRequest) (*authv1.Baa, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("practice", r.GetPractice(), "practices")
	if err != nil {
		return nil, err
	}
	if err := line("version", r.GetVersion()); err != nil {
		return nil, err
	}
	if err := line("signatory", r.GetSignatory()); err != nil {
		return nil, err
	}
	return baaMessage(id)(g.Standing.RecordBaa(ctx, c, id, store.Agreement{
		Version: r.GetVersion(), Signatory: r.GetSignatory(), Begins: r.GetStartTime().AsTime(), Ends: r.GetEndTime().AsTime(),
	}))
}

// GetBaa implements GovernanceService.
func (g *Governance) GetBaa(ctx context.Context, r *authv1.GetBaaRequest) (*authv1.Baa, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("practice", r.GetPractice(), "practices")
	if err != nil {
		return nil, err
	}
	return baaMessage(id)(g.Standing.Baa(ctx, c, id))
}

// ReviseBaa implements GovernanceService.
func (g *Governance) ReviseBaa(ctx context.Context, r *authv1.ReviseBaaRequest) (*authv1.ReviseBaaResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("version", r.GetVersion()); err != nil {
		return nil, err
	}
	return &authv1.ReviseBaaResponse{}, g.Standing.Revise(ctx, c, r.GetVersion())
}

// GetPolicy implements GovernanceService.
func (g *Governance) GetPolicy(ctx context.Context, _ *authv1.GetPolicyRequest) (*authv1.Policy, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	return policyMessage(g.Standing.Policy(ctx, c))
}

// UpdatePolicy implements GovernanceService.
func (g *Governance) UpdatePolicy(ctx context.Context, r *authv1.UpdatePolicyRequest) (*authv1.Policy, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	version, err := versionOf("etag", r.GetEtag())
	if err != nil {
		return nil, err
	}
	return policyMessage(g.Standing.SetPolicy(ctx, c, store.Policy{
		AcceptEmailCode: r.GetAcceptEmailCode(), RequirePasskey: r.GetRequirePasskey(), Version: version,
	}))
}

// ListCertificationItems implements GovernanceService.
func (g *Governance) ListCertificationItems(ctx context.Context, _ *authv1.ListCertificationItemsRequest) (*authv1.ListCertificationItemsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := g.Certifications.List(ctx, c)
	response := &authv1.ListCertificationItemsResponse{}
	for _, item := range list {
		response.Items = append(response.Items, itemMessage(item))
	}
	return response, err
}

// Certify implements GovernanceService.
func (g *Governance) Certify(ctx context.Context, r *authv1.CertifyRequest) (*authv1.CertificationItem, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "certificationItems")
	if err != nil {
		return nil, err
	}
	item, err := g.Certifications.Certify(ctx, c, id, r.GetConfirm())
	if err != nil {
		return nil, err
	}
	return itemMessage(item), nil
}

// GetPermissionUse implements GovernanceService.
func (g *Governance) GetPermissionUse(ctx context.Context, r *authv1.GetPermissionUseRequest) (*authv1.PermissionUse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	target, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	report, err := g.Uses.Report(ctx, c, target)
	if err != nil {
		return nil, err
	}
	return &authv1.PermissionUse{Used: report.Used, Unused: report.Unused}, nil
}

func baaMessage(id uuid.UUID) func(store.Agreement, error) (*authv1.Baa, error) {
	return func(a store.Agreement, err error) (*authv1.Baa, error) {
		m := &authv1.Baa{Practice: practice.Name(id), Version: a.Version, Signatory: a.Signatory}
		if a.Version != "" {
			m.StartTime, m.EndTime = timestamppb.New(a.Begins), timestamppb.New(a.Ends)
		}
		return m, err
	}
}

func policyMessage(p store.Policy, err error) (*authv1.Policy, error) {
	return &authv1.Policy{AcceptEmailCode: p.AcceptEmailCode, RequirePasskey: p.RequirePasskey, Etag: etag(p.Version)}, err
}

func itemMessage(i store.Item) *authv1.CertificationItem {
	return &authv1.CertificationItem{
		Name: certification.Name(i.ID), User: user.Name(i.User), Kind: authv1.CertificationKind(i.Kind), Subject: i.Subject.String(),
		DueTime: timestamppb.New(i.Due), Outcome: authv1.CertificationOutcome(i.Outcome),
	}
}
