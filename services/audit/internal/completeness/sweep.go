package completeness

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	sweepMethod = "jobs/SweepOutboxes"
	arrivalPage = 10000
	// unloggedFor is how far back a sweep looks for findings whose entry was lost by a crash between the two.
	unloggedFor = 7 * 24 * time.Hour
	// maxNumbers bounds the text of numbers in an entry; the finding has them all.
	maxNumbers = 120
)

// Sweep brings the account of outboxes up to date and records what it finds. What was found once
// is not found again.
func (w *Watch) Sweep(ctx context.Context) error {
	now := w.Now().UTC()
	// First what was heard, then what arrived: a row that a heartbeat says is out of the outbox
	// was noted here before its receipt was sent, and so is found below.
	beats, listening := w.heard(now)
	r, cursor, err := w.load(ctx, now, beats)
	if err != nil {
		return err
	}
	account := store.Account{Findings: r.judge(now, listening), Cursor: cursor}
	for _, e := range r.epochs {
		account.Epochs = append(account.Epochs, *e)
	}
	account.Served = w.uncounted(beats)
	if err := w.Store.SaveAccount(ctx, account); err != nil {
		return err
	}
	w.keep(account.Served)
	return w.log(ctx, now)
}

// load reads the accounts of all processes that are not long gone, and what arrived since.
func (w *Watch) load(ctx context.Context, now time.Time, beats map[process]beat) (*roll, int64, error) {
	list, cursor, err := w.Store.Epochs(ctx, now.Add(-rememberFor))
	if err != nil {
		return nil, 0, err
	}
	r := &roll{epochs: map[process]*store.Epoch{}, beats: beats}
	for i := range list {
		r.epochs[process{list[i].Service, list[i].ID}] = &list[i]
	}
	for p := range beats {
		if err := w.recall(ctx, r, p); err != nil {
			return nil, 0, err
		}
	}
	for {
		arrivals, last, err := w.Store.Arrivals(ctx, cursor, arrivalPage)
		if err != nil {
			return nil, 0, err
		}
		cursor = last
		for _, a := range arrivals {
			if err := w.recall(ctx, r, process{a.Service, a.Epoch}); err != nil {
				return nil, 0, err
			}
			r.arrive(a)
		}
		if len(arrivals) < arrivalPage {
			return r, cursor, nil
		}
	}
}

// recall reads the account of a process that was thought to be long gone.
func (w *Watch) recall(ctx context.Context, r *roll, p process) error {
	if _, ok := r.epochs[p]; ok {
		return nil
	}
	list, err := w.Store.EpochOf(ctx, p.service, p.epoch)
	if err != nil {
		return err
	}
	e := r.epoch(p)
	if len(list) > 0 {
		*e = list[0]
	}
	return nil
}

// uncounted are the calls of minutes that are not kept yet. Heartbeats repeat the last minutes, and
// a minute does not change once it was told.
func (w *Watch) uncounted(beats map[process]beat) []store.Served {
	var out []store.Served
	for p, b := range beats {
		out = append(out, w.uncountedOf(p, b.served)...)
	}
	for p := range w.kept {
		if _, ok := beats[p]; !ok && p != w.own {
			delete(w.kept, p)
		}
	}
	return out
}

// log records the findings that the log does not hold yet. The entry has the finding's id, which the log takes once.
func (w *Watch) log(ctx context.Context, now time.Time) error {
	missing, err := w.Store.UnloggedFindings(ctx, now.Add(-unloggedFor))
	if err != nil || len(missing) == 0 {
		return err
	}
	events := make([]*auditv1.Event, len(missing))
	for n, f := range missing {
		recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, sweepMethod, accessv1.Action_ACTION_VERIFY, w.Now)
		events[n] = recorder.Event(evidence.Outcome(auditv1.Outcome_OUTCOME_FAILED, codes.DataLoss, f.Reason),
			evidence.Resource(resource(f), 0), evidence.Risk(auditv1.Risk_RISK_CRITICAL), evidence.Count(int(f.Numbers.Len())))
		events[n].EventId = f.ID.String()
	}
	return w.Sink.Record(ctx, events...)
}

// resource names the process, and the numbers where the finding is about rows.
func resource(f store.Finding) string {
	name := fmt.Sprintf("outboxes/%s/%s", access.ServiceName(accessv1.Service(f.Service)), f.Epoch)
	numbers := f.Numbers.Text()
	if numbers == "" {
		return name
	}
	if len(numbers) > maxNumbers {
		numbers = numbers[:maxNumbers] + "…"
	}
	return name + "/rows/" + numbers
}
