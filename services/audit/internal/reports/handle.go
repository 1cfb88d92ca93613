package reports

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// maxVersion is how many steps a report can have, its receipt included.
	maxVersion  = 500
	defaultPage = 50
)

var (
	errChanged = errs.New(errs.KindConflict, "REPORT_CHANGED", "Somebody else changed this report at the same moment: look at it and try again.")
	errFull    = errs.New(errs.KindPrecondition, "REPORT_FULL", fmt.Sprintf("A report has at most %d steps.", maxVersion))
	errCaller  = errs.New(errs.KindUnauthenticated, "CALLER_MISSING", "no caller")
)

// after says in which states a step may follow; a kind that is missing follows in every state.
var after = map[auditv1.ReportStep_Kind][]auditv1.ReportState{
	auditv1.ReportStep_KIND_ACKNOWLEDGED: {auditv1.ReportState_REPORT_STATE_RECEIVED},
	auditv1.ReportStep_KIND_TRIAGED:      {auditv1.ReportState_REPORT_STATE_ACKNOWLEDGED, auditv1.ReportState_REPORT_STATE_TRIAGED},
	auditv1.ReportStep_KIND_RESOLVED:     {auditv1.ReportState_REPORT_STATE_TRIAGED},
	auditv1.ReportStep_KIND_REJECTED: {
		auditv1.ReportState_REPORT_STATE_RECEIVED, auditv1.ReportState_REPORT_STATE_ACKNOWLEDGED, auditv1.ReportState_REPORT_STATE_TRIAGED,
	},
}

// Step is what somebody does to a report.
type Step struct {
	Kind     auditv1.ReportStep_Kind
	Severity auditv1.Severity // of a triage
	Text     string
}

// Take adds a step and returns the report with it. REPORT_STATE says that the step does not
// follow in the report's state, REPORT_CHANGED that somebody else was faster.
func (r *Reports) Take(ctx context.Context, id uuid.UUID, step Step) (*auditv1.VulnerabilityReport, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return nil, errCaller
	}
	report, steps, err := r.Store.Report(ctx, id)
	if err != nil {
		return nil, err
	}
	now := r.fold(report, steps)
	if states, bound := after[step.Kind]; bound && !slices.Contains(states, now.GetState()) {
		return nil, refused(step.Kind, now.GetState(), states)
	}
	version := receipt + int32(len(steps)) + 1
	if version > maxVersion {
		return nil, errFull
	}
	sealed, err := r.seal.text(ctx, id, version, step.Text)
	if err != nil {
		return nil, err
	}
	row := store.ReportStep{
		Report: id, Version: version, Kind: int16(step.Kind), Severity: int16(step.Severity),
		User: who.User, Created: r.Now().UTC().Truncate(time.Microsecond), Sealed: sealed,
	}
	if err := r.Store.AddReportStep(ctx, row, r.record(id, version)); errors.Is(err, store.ErrReportChanged) {
		return nil, errChanged
	} else if err != nil {
		return nil, err
	}
	return r.whole(ctx, report, append(steps, row))
}

func refused(kind auditv1.ReportStep_Kind, state auditv1.ReportState, states []auditv1.ReportState) error {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = word(s.String(), "REPORT_STATE_")
	}
	return errs.New(errs.KindPrecondition, "REPORT_STATE", fmt.Sprintf("The report is %s; only one that is %s can be %s.",
		word(state.String(), "REPORT_STATE_"), strings.Join(names, " or "), word(kind.String(), "KIND_")))
}

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// Get returns a report with all that was written. Its event is in the log before.
func (r *Reports) Get(ctx context.Context, id uuid.UUID) (*auditv1.VulnerabilityReport, error) {
	report, steps, err := r.Store.Report(ctx, id)
	if err != nil {
		return nil, err
	}
	whole, err := r.whole(ctx, report, steps)
	if err != nil {
		return nil, err
	}
	return whole, r.record(id, 0)(ctx)
}

// List returns a page of reports without what was written, newest first, and the last id where there are more.
func (r *Reports) List(ctx context.Context, from uuid.UUID, openOnly bool, size int) ([]*auditv1.VulnerabilityReport, uuid.UUID, error) {
	if size == 0 {
		size = defaultPage
	}
	list, steps, err := r.Store.Reports(ctx, from, openOnly, closing, size+1)
	if err != nil {
		return nil, uuid.Nil, err
	}
	var next uuid.UUID
	if len(list) > size {
		list = list[:size]
		next = list[size-1].ID
	}
	of := map[uuid.UUID][]store.ReportStep{}
	for _, s := range steps {
		of[s.Report] = append(of[s.Report], s)
	}
	out := make([]*auditv1.VulnerabilityReport, len(list))
	for i, report := range list {
		out[i] = r.fold(report, of[report.ID])
	}
	return out, next, nil
}
