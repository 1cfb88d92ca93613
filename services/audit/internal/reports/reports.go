// Package reports is the register of vulnerability reports: it takes them from anybody,
// keeps what happened to them, and tells the log when an acknowledgement is due or late
// (claims DMD-34, DH-56, DC-26). It sends no mail: a reporter asks with the secret of the ticket.
package reports

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// Reports of a day: of one network, so that nobody buries the others', and of all, so that
	// a botnet does not fill the disk (500 reports of full length are some 50 MB).
	perNetwork = 5
	perDay     = 500
	limitTime  = 24 * time.Hour

	// secretPrefix lets scanners of secrets find a leaked one.
	secretPrefix = "ckv_"
	secretBytes  = 32
)

var (
	errNetworkLimit = errs.New(errs.KindLimited, "TOO_MANY_REPORTS",
		"Five reports came from this network within a day: write to the contact in /.well-known/security.txt, or try again tomorrow.").WithRetry(limitTime)
	errLimit = errs.New(errs.KindLimited, "INTAKE_FULL",
		"Too many reports came within a day: write to the contact in /.well-known/security.txt, or try again tomorrow.").WithRetry(limitTime)
	// errSecret is one answer for a ticket that never was and a wrong secret. There is no count
	// of wrong ones: nobody guesses 256 bits.
	errSecret = errs.New(errs.KindUnauthenticated, "REPORT_SECRET_INVALID", "There is no report with this name and secret.")
)

// Options are what the register works with. All are required; the zero Clock counts weekdays.
type Options struct {
	Store *store.Store
	Seal  *seal.Sealer
	Sink  evidence.Sink
	Clock Clock
	Log   *slog.Logger
	Now   func() time.Time
}

// Reports is the register.
type Reports struct {
	Options
	seal sealer
}

// New returns the register. Nothing is asked of anybody yet.
func New(o Options) *Reports { return &Reports{Options: o, seal: sealer{o.Seal}} }

// Name is the resource name of a report, which is the reporter's ticket.
func Name(id uuid.UUID) string { return collection + id.String() }

const collection = "vulnerabilityReports/"

// Ticket is what a reporter is told.
type Ticket struct {
	ID     uuid.UUID
	Secret string // shown once
	Time   time.Time
	Due    string // YYYY-MM-DD, the last day of the clock
}

// Submit takes a report from an address. TOO_MANY_REPORTS and INTAKE_FULL say that none is taken now.
func (r *Reports) Submit(ctx context.Context, content *auditv1.ReportContent, address string) (Ticket, error) {
	evidence.From(ctx).SetBearer(uuid.Nil, accessv1.Purpose_PURPOSE_UNSPECIFIED, address)
	id, err := uuid.NewV7()
	if err != nil {
		return Ticket{}, err
	}
	now := r.Now().UTC().Truncate(time.Microsecond)
	near, due := r.Clock.times(now)
	sealed, err := r.seal.content(ctx, id, content)
	if err != nil {
		return Ticket{}, err
	}
	secret := newSecret()
	hash := sha256.Sum256([]byte(secret))
	err = r.Store.AddReport(ctx, store.Report{
		ID: id, Created: now, Network: network.Client(address), SecretHash: hash[:], Near: near, Due: due, Sealed: sealed,
	}, store.ReportLimits{Since: now.Add(-limitTime), OfOneNetwork: perNetwork, OfAll: perDay}, r.record(id, receipt))
	switch {
	case errors.Is(err, store.ErrNetworkLimit):
		return Ticket{}, errNetworkLimit
	case errors.Is(err, store.ErrLimit):
		return Ticket{}, errLimit
	case err != nil:
		return Ticket{}, err
	}
	return Ticket{ID: id, Secret: secret, Time: now, Due: r.Clock.lastDay(due)}, nil
}

func newSecret() string {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: without randomness crypto/rand ends the process
	return secretPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
}

// Check shows the holder of the secret how the report goes: nothing of who handles it, and
// of the steps only what was written to them.
func (r *Reports) Check(ctx context.Context, id uuid.UUID, secret, address string) (*auditv1.CheckReportResponse, error) {
	evidence.From(ctx).SetBearer(uuid.Nil, accessv1.Purpose_PURPOSE_UNSPECIFIED, address)
	report, steps, err := r.Store.Report(ctx, id)
	if errs.KindOf(err) == errs.KindNotFound {
		return nil, errSecret
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(hash[:], report.SecretHash) != 1 {
		return nil, errSecret
	}
	whole, err := r.whole(ctx, report, steps)
	if err != nil {
		return nil, err
	}
	out := &auditv1.CheckReportResponse{
		Name: whole.GetName(), State: whole.GetState(), CreateTime: whole.GetCreateTime(), AcknowledgeBy: whole.GetAcknowledgeBy(),
		AcknowledgeTime: whole.GetAcknowledgeTime(), Severity: whole.GetSeverity(),
	}
	for _, s := range whole.GetSteps() {
		if s.GetText() != "" && s.GetKind() != auditv1.ReportStep_KIND_TRIAGED {
			out.Messages = append(out.Messages, &auditv1.ReporterMessage{CreateTime: s.GetCreateTime(), Text: s.GetText()})
		}
	}
	return out, r.record(id, 0)(ctx)
}

// record makes the RPC's event durable; version is that of the step, 0 for a look.
func (r *Reports) record(id uuid.UUID, version int32) store.Record {
	return func(ctx context.Context) error {
		recorder := evidence.From(ctx)
		event := recorder.Event(evidence.Resource(Name(id), int64(version)))
		if err := r.Sink.Record(ctx, event); err != nil {
			return err
		}
		recorder.Committed([]*auditv1.Event{event})
		return nil
	}
}

func stamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }
