package reports

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// receipt is the version that a report has when it comes in.
const receipt int32 = 1

var (
	// closing are the steps after which a report is not open any more.
	closing = kinds(auditv1.ReportStep_KIND_RESOLVED, auditv1.ReportStep_KIND_REJECTED)
	// answers are the steps that stop the clock.
	answers = kinds(auditv1.ReportStep_KIND_ACKNOWLEDGED, auditv1.ReportStep_KIND_REJECTED)
)

func kinds(list ...auditv1.ReportStep_Kind) []int16 {
	out := make([]int16, len(list))
	for i, k := range list {
		out[i] = int16(k)
	}
	return out
}

var stateAfter = map[auditv1.ReportStep_Kind]auditv1.ReportState{
	auditv1.ReportStep_KIND_ACKNOWLEDGED: auditv1.ReportState_REPORT_STATE_ACKNOWLEDGED,
	auditv1.ReportStep_KIND_TRIAGED:      auditv1.ReportState_REPORT_STATE_TRIAGED,
	auditv1.ReportStep_KIND_RESOLVED:     auditv1.ReportState_REPORT_STATE_RESOLVED,
	auditv1.ReportStep_KIND_REJECTED:     auditv1.ReportState_REPORT_STATE_REJECTED,
}

// fold is what follows from a report and its steps, in their order. It opens nothing.
func (r *Reports) fold(report store.Report, steps []store.ReportStep) *auditv1.VulnerabilityReport {
	out := &auditv1.VulnerabilityReport{
		Name: Name(report.ID), State: auditv1.ReportState_REPORT_STATE_RECEIVED,
		CreateTime: stamp(report.Created), AcknowledgeBy: r.Clock.lastDay(report.Due),
	}
	stopped := r.Now()
	for _, s := range steps {
		kind := auditv1.ReportStep_Kind(s.Kind)
		if state, changes := stateAfter[kind]; changes {
			out.State = state
		}
		if kind == auditv1.ReportStep_KIND_TRIAGED {
			out.Severity = auditv1.Severity(s.Severity)
		}
		answered := kind == auditv1.ReportStep_KIND_ACKNOWLEDGED || kind == auditv1.ReportStep_KIND_REJECTED
		if answered && out.AcknowledgeTime == nil {
			out.AcknowledgeTime, stopped = stamp(s.Created), s.Created
		}
	}
	out.Overdue = !stopped.Before(report.Due)
	return out
}

// whole is fold with all that was written, opened in one call of transit.
func (r *Reports) whole(ctx context.Context, report store.Report, steps []store.ReportStep) (*auditv1.VulnerabilityReport, error) {
	out := r.fold(report, steps)
	content, texts, err := r.seal.open(ctx, report, steps)
	if err != nil {
		return nil, err
	}
	out.Content = content
	out.Steps = append(out.Steps, &auditv1.ReportStep{Kind: auditv1.ReportStep_KIND_RECEIVED, CreateTime: stamp(report.Created)})
	for i, s := range steps {
		step := &auditv1.ReportStep{
			Kind: auditv1.ReportStep_Kind(s.Kind), CreateTime: stamp(s.Created), Severity: auditv1.Severity(s.Severity), Text: texts[i],
		}
		if s.User != uuid.Nil {
			step.User = "users/" + s.User.String()
		}
		out.Steps = append(out.Steps, step)
	}
	return out, nil
}
