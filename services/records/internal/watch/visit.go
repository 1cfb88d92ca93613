package watch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Reasons in the audit log.
const (
	ReasonVIP   = "VIP_ACCESS"
	ReasonDecoy = "DECOY_TOUCHED"
)

// visit is one call on its way, with the list that its accesses are held against.
type visit struct {
	list *list
	who  store.Freeze

	mu sync.Mutex
	// reports are the ids of touches that were about to commit; which of them have, the database knows.
	reports []uuid.UUID
	frozen  bool
}

// report notes a touch that is about to commit.
func (v *visit) report() uuid.UUID {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := uuid.Must(uuid.NewV7())
	v.reports = append(v.reports, id)
	return id
}

// open are the reports that nothing was done about yet.
func (v *visit) open() []uuid.UUID {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.frozen {
		return nil
	}
	return slices.Clone(v.reports)
}

// over reports whether the account is frozen.
func (v *visit) over() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.frozen
}

// close notes that the reports are dealt with; where one had committed, the account is frozen.
func (v *visit) close(reports []uuid.UUID, frozen bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frozen = v.frozen || frozen
	v.reports = slices.DeleteFunc(v.reports, func(id uuid.UUID) bool { return slices.Contains(reports, id) })
}

type (
	visitKey   struct{}
	passingKey struct{}
)

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// InPassing marks the units of a list or search over many patients: who shows up there was
// not asked for, and a decoy is shown like everybody else. It is touched when it is opened.
func InPassing(ctx context.Context) context.Context {
	return context.WithValue(ctx, passingKey{}, func() bool { return true })
}

// InPassingWhile is InPassing for as long as passing says so, which it may know only once the answer is there.
func InPassingWhile(ctx context.Context, passing func() bool) context.Context {
	return context.WithValue(ctx, passingKey{}, passing)
}

// Closed are the patients whom the scope of the whole practice does not open.
func Closed(ctx context.Context) []uuid.UUID {
	if v := visitOf(ctx); v != nil {
		return v.list.vips
	}
	return nil
}

// aside are services and RPCs that neither open a chart nor show anything of one: holds, retention,
// erasure and exit, the care for keys, the marks themselves, and who looks at what others did.
var aside = []string{
	recordsv1.AccessService_ListGlassOpenings_FullMethodName,
	recordsv1.AccessService_ReviewGlass_FullMethodName,
	recordsv1.ReferralService_ListReferrals_FullMethodName,
	recordsv1.ReferralService_AcceptReferral_FullMethodName,
	recordsv1.ReferralService_DeclineReferral_FullMethodName,
	recordsv1.ReferralService_WithdrawReferral_FullMethodName,
	"/" + recordsv1.LifecycleService_ServiceDesc.ServiceName + "/",
	"/" + recordsv1.KeysService_ServiceDesc.ServiceName + "/",
	"/" + recordsv1.WatchService_ServiceDesc.ServiceName + "/",
}

// Inspect holds the events of a unit against the list (pg.Options.Inspect). What a decoy's event
// leads to commits with it.
func (w *Watch) Inspect(ctx context.Context, events []*auditv1.Event, b *pgx.Batch) {
	v := visitOf(ctx)
	if v == nil || len(v.list.marks) == 0 && !v.list.broken {
		return
	}
	queued := false
	for _, e := range events {
		mark := Mark(0)
		if id, err := uuid.Parse(e.GetPatientId()); err == nil {
			mark = v.list.marks[id]
		}
		if mark&VIP != 0 {
			e.Risk = max(e.GetRisk(), auditv1.Risk_RISK_HIGH)
			if e.GetReason() == "" {
				e.Reason = ReasonVIP
			}
		}
		if mark&Decoy != 0 && touches(ctx, e) {
			e.Risk, e.Reason = auditv1.Risk_RISK_CRITICAL, ReasonDecoy
			if !queued && v.who.User != uuid.Nil {
				queued = true
				store.QueueFreeze(b, v.who, v.report())
			}
		}
		if v.list.broken {
			suspect(e)
		}
	}
}

// touches reports whether the event tells of somebody who went for the patient. Events of
// keys only tell what that took.
func touches(ctx context.Context, e *auditv1.Event) bool {
	if passing, ok := ctx.Value(passingKey{}).(func() bool); aboutKeys(e) || ok && passing() {
		return false
	}
	for _, service := range aside {
		if strings.HasPrefix(e.GetMethod(), service) {
			return false
		}
	}
	return true
}

func aboutKeys(e *auditv1.Event) bool {
	return e.GetAction() == accessv1.Action_ACTION_KEY_CREATE || e.GetAction() == accessv1.Action_ACTION_KEY_UNWRAP
}

// errAway is the answer where auth could not be told: that of any service which is away.
var errAway = errs.New(errs.KindUnavailable, "SERVICE_UNAVAILABLE", "a service that this needs cannot be reached; try again")

// Leave lets an answer out (server.Options.Leave). Who touched a decoy gets one that looks like
// any other, once auth has frozen the account; while it cannot, they get none, and the job goes on trying.
// A touch whose commit failed freezes nobody: its answer was an error.
func (w *Watch) Leave(ctx context.Context) error {
	v := visitOf(ctx)
	if v == nil {
		return nil
	}
	reports := v.open()
	if len(reports) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freezeTime)
	defer cancel()
	frozen, err := w.freeze(ctx, v.who, reports)
	if err != nil {
		w.wake()
	}
	if err != nil && !errors.Is(err, errUnnoted) {
		return errAway
	}
	v.close(reports, frozen)
	return nil
}

// Over is asked between the parts of one call. After a touch the account is frozen at once, and
// what is left of the call gets the answer that a next call would get, as if each part came alone.
func (w *Watch) Over(ctx context.Context) error {
	if err := w.Leave(ctx); err != nil {
		return err
	}
	if v := visitOf(ctx); v != nil && v.over() {
		return errSession
	}
	return nil
}
