package completeness

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// appendedWithin is how late an event may come to the log and still be found by a report.
	appendedWithin = 24 * time.Hour
	reportPage     = 5000
	jobs           = "jobs/"
)

// Method is calls of one method in a period.
type Method struct {
	Service accessv1.Service
	Name    string // empty for methods that nobody offers
	Served  int64  // as the service's processes say
	Stored  int64  // different calls in the log
}

// countOwn keeps how many calls this process served.
func (w *Watch) countOwn(ctx context.Context, whole bool) {
	fresh := w.uncountedOf(w.own, served(w.own, w.Calls(whole)))
	if len(fresh) == 0 {
		return
	}
	if err := w.Store.SaveAccount(ctx, store.Account{Served: fresh}); err != nil {
		w.Log.WarnContext(ctx, "this service's own calls were not counted; it is tried again", telemetry.KeyError, err.Error())
		return
	}
	w.keep(fresh)
}

func (w *Watch) uncountedOf(p process, calls []store.Served) (fresh []store.Served) {
	for _, c := range calls {
		if c.Minute > w.kept[p] {
			fresh = append(fresh, c)
		}
	}
	return fresh
}

func (w *Watch) keep(calls []store.Served) {
	for _, c := range calls {
		p := process{c.Service, c.Epoch}
		w.kept[p] = max(w.kept[p], c.Minute)
	}
}

// Report compares what was served with what is in the log, for calls that began in [from, to), both
// whole minutes. It returns also how many runs of jobs the log has, which nobody called.
func (w *Watch) Report(ctx context.Context, from, to time.Time) ([]Method, int64, error) {
	type key struct {
		service accessv1.Service
		method  string
	}
	all := map[key]*Method{}
	at := func(service accessv1.Service, method string) *Method {
		k := key{service, method}
		if all[k] == nil {
			all[k] = &Method{Service: service, Name: method}
		}
		return all[k]
	}
	calls, err := w.Store.ServedCalls(ctx, from.Unix()/60, to.Unix()/60)
	if err != nil {
		return nil, 0, err
	}
	for _, c := range calls {
		at(accessv1.Service(c.Service), c.Method).Served = c.Calls
	}
	var runs int64
	seen := map[uuid.UUID]bool{}
	err = w.Store.EachEntry(ctx, from.Add(-time.Minute), to.Add(appendedWithin), reportPage, func(e store.Logged) {
		id, err := uuid.FromBytes(e.Event.GetCallId())
		if err != nil || id.Version() != 7 || seen[id] {
			return
		}
		if began := evidence.Began(id); began.Before(from) || !began.Before(to) {
			return
		}
		seen[id] = true
		if strings.HasPrefix(e.Event.GetMethod(), jobs) {
			runs++
			return
		}
		at(e.Event.GetService(), offered(e.Event.GetMethod())).Stored++
	})
	if err != nil {
		return nil, 0, fmt.Errorf("compare calls: %w", err)
	}
	list := make([]Method, 0, len(all))
	for _, m := range all {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Method) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	return list, runs, nil
}

// offered is the method, or nothing for a name that a client made up.
func offered(method string) string {
	if _, ok := access.RuleOf(method); !ok {
		return ""
	}
	return method
}
