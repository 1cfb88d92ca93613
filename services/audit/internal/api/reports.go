package api

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/reports"
)

// VulnerabilityService implements the API of vulnerability reports.
type VulnerabilityService struct {
	auditv1.UnimplementedVulnerabilityServiceServer
	reports *reports.Reports
}

// NewVulnerability makes the service.
func NewVulnerability(r *reports.Reports) *VulnerabilityService {
	return &VulnerabilityService{reports: r}
}

// reportID reads a name whose form protovalidate has checked.
func reportID(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(name[strings.LastIndexByte(name, '/')+1:])
	if err != nil {
		return uuid.Nil, invalid("name", `must be like "vulnerabilityReports/{uuid}"`)
	}
	return id, nil
}

// SubmitReport implements the RPC.
func (s *VulnerabilityService) SubmitReport(ctx context.Context, r *auditv1.SubmitReportRequest) (*auditv1.SubmitReportResponse, error) {
	ticket, err := s.reports.Submit(ctx, r.GetContent(), r.GetClient().GetAddress())
	if err != nil {
		return nil, err
	}
	return &auditv1.SubmitReportResponse{
		Name: reports.Name(ticket.ID), Secret: ticket.Secret, CreateTime: timestamppb.New(ticket.Time), AcknowledgeBy: ticket.Due,
	}, nil
}

// CheckReport implements the RPC.
func (s *VulnerabilityService) CheckReport(ctx context.Context, r *auditv1.CheckReportRequest) (*auditv1.CheckReportResponse, error) {
	id, err := reportID(r.GetName())
	if err != nil {
		return nil, err
	}
	return s.reports.Check(ctx, id, r.GetSecret(), r.GetClient().GetAddress())
}

// ListReports implements the RPC.
func (s *VulnerabilityService) ListReports(ctx context.Context, r *auditv1.ListReportsRequest) (*auditv1.ListReportsResponse, error) {
	var from uuid.UUID
	if r.GetPageToken() != "" {
		var err error
		if from, err = uuid.Parse(r.GetPageToken()); err != nil {
			return nil, badToken
		}
	}
	list, next, err := s.reports.List(ctx, from, r.GetOpenOnly(), int(r.GetPageSize()))
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListReportsResponse{Reports: list}
	if next != uuid.Nil {
		out.NextPageToken = next.String()
	}
	return out, nil
}

// GetReport implements the RPC.
func (s *VulnerabilityService) GetReport(ctx context.Context, r *auditv1.GetReportRequest) (*auditv1.VulnerabilityReport, error) {
	id, err := reportID(r.GetName())
	if err != nil {
		return nil, err
	}
	return s.reports.Get(ctx, id)
}

// take adds a step to the report of a name.
func (s *VulnerabilityService) take(ctx context.Context, name string, step reports.Step) (*auditv1.VulnerabilityReport, error) {
	id, err := reportID(name)
	if err != nil {
		return nil, err
	}
	return s.reports.Take(ctx, id, step)
}

// AcknowledgeReport implements the RPC.
func (s *VulnerabilityService) AcknowledgeReport(ctx context.Context, r *auditv1.AcknowledgeReportRequest) (*auditv1.VulnerabilityReport, error) {
	return s.take(ctx, r.GetName(), reports.Step{Kind: auditv1.ReportStep_KIND_ACKNOWLEDGED, Text: r.GetText()})
}

// TriageReport implements the RPC.
func (s *VulnerabilityService) TriageReport(ctx context.Context, r *auditv1.TriageReportRequest) (*auditv1.VulnerabilityReport, error) {
	return s.take(ctx, r.GetName(), reports.Step{Kind: auditv1.ReportStep_KIND_TRIAGED, Severity: r.GetSeverity(), Text: r.GetText()})
}

// ResolveReport implements the RPC.
func (s *VulnerabilityService) ResolveReport(ctx context.Context, r *auditv1.ResolveReportRequest) (*auditv1.VulnerabilityReport, error) {
	return s.take(ctx, r.GetName(), reports.Step{Kind: auditv1.ReportStep_KIND_RESOLVED, Text: r.GetText()})
}

// RejectReport implements the RPC.
func (s *VulnerabilityService) RejectReport(ctx context.Context, r *auditv1.RejectReportRequest) (*auditv1.VulnerabilityReport, error) {
	return s.take(ctx, r.GetName(), reports.Step{Kind: auditv1.ReportStep_KIND_REJECTED, Text: r.GetText()})
}

// MessageReporter implements the RPC.
func (s *VulnerabilityService) MessageReporter(ctx context.Context, r *auditv1.MessageReporterRequest) (*auditv1.VulnerabilityReport, error) {
	return s.take(ctx, r.GetName(), reports.Step{Kind: auditv1.ReportStep_KIND_MESSAGE, Text: r.GetText()})
}
