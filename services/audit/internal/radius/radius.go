// Package radius computes from the log what was opened: which patients, which of their resources, and
// which fields. It believes nothing but entries that still fit their leaf, and it decides
// nothing about what is to be done then; incidents and breaches do.
package radius

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Log is what a radius reads.
type Log interface {
	End(ctx context.Context) (int64, error)
	ByPatient(ctx context.Context, practice uuid.UUID, f store.Filter, size int64, each func(ledger.Entry) error) error
}

// Query is whose accesses are meant.
type Query struct {
	store.Filter
	Key uuid.UUID // the unwraps of a data key instead of accesses
}

// Resource is what was opened of a resource, or of a list of them.
type Resource struct {
	Name             string
	Fields           map[string]bool
	Whole            bool
	Accesses         int64
	First, Last      time.Time
	FromSeq, LastSeq int64
}

// Patient is what was opened of a patient, or a part of it.
type Patient struct {
	ID        uuid.UUID
	Resources []Resource // by name
}

// Summary is a radius as a whole.
type Summary struct {
	Patients, Accesses int64
	First, Last        time.Time
	FromSeq, LastSeq   int64
	LogSize            int64
}

// mostResources is how many resources of a patient are in memory; then a part of them goes out.
const mostResources = 1000

// Compute gives each what was opened, patient by patient, and returns the sum. The memory that it
// takes does not depend on the size of the log or the number of patients.
func Compute(ctx context.Context, log Log, practice uuid.UUID, q Query, each func(Patient) error) (Summary, error) {
	size, err := log.End(ctx)
	if err != nil {
		return Summary{}, err
	}
	q.Outcome = int16(auditv1.Outcome_OUTCOME_OK)
	if q.Key != uuid.Nil {
		q.Action = int16(accessv1.Action_ACTION_KEY_UNWRAP)
	}
	c := &computation{key: q.Key, sum: Summary{LogSize: size}, resources: map[string]*Resource{}, each: each}
	if err := log.ByPatient(ctx, practice, q.Filter, size, c.entry); err != nil {
		return Summary{}, err
	}
	return c.sum, c.flush()
}

type computation struct {
	key       uuid.UUID
	sum       Summary
	patient   uuid.UUID
	resources map[string]*Resource
	each      func(Patient) error
}

// entry takes one entry about a patient. Those of the same patient follow one another.
func (c *computation) entry(e ledger.Entry) error {
	event, problem := e.Check()
	if problem != nil {
		return errs.Wrap(fmt.Errorf("%s", problem), errs.KindDataLoss, "ENTRY_ALTERED", fmt.Sprintf("entry %d was changed after it was written", e.Seq))
	}
	shown, ok := c.shown(event)
	if !ok {
		return nil
	}
	if e.Index.Patient != c.patient || len(c.resources) >= mostResources {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if e.Index.Patient != c.patient {
		c.patient = e.Index.Patient
		c.sum.Patients++
	}
	c.add(e, event, shown)
	return nil
}

// shown is what an entry says was opened; false where it says nothing of the kind.
func (c *computation) shown(e *auditv1.Event) (answer, bool) {
	if c.key != uuid.Nil {
		return answer{}, e.GetResource() == "keys/"+c.key.String()
	}
	switch e.GetAction() {
	case accessv1.Action_ACTION_KEY_CREATE, accessv1.Action_ACTION_KEY_UNWRAP:
		return answer{}, false // no access, but what made one possible; the access has its own entry
	}
	a := answerOf(e.GetMethod(), e.GetWithheldFields())
	return a, a.shows()
}

func (c *computation) add(e ledger.Entry, event *auditv1.Event, shown answer) {
	at := e.Index.EventTime
	r := c.resources[event.GetResource()]
	if r == nil {
		r = &Resource{Name: event.GetResource(), Fields: map[string]bool{}, First: at, Last: at, FromSeq: e.Seq, LastSeq: e.Seq}
		c.resources[r.Name] = r
	}
	r.Accesses++
	r.Whole = r.Whole || shown.whole
	for _, f := range shown.fields {
		r.Fields[f] = true
	}
	widen(&r.First, &r.Last, at)
	r.FromSeq, r.LastSeq = min(r.FromSeq, e.Seq), max(r.LastSeq, e.Seq)
	if c.sum.Accesses == 0 {
		c.sum.First, c.sum.Last, c.sum.FromSeq, c.sum.LastSeq = at, at, e.Seq, e.Seq
	}
	c.sum.Accesses++
	widen(&c.sum.First, &c.sum.Last, at)
	c.sum.FromSeq, c.sum.LastSeq = min(c.sum.FromSeq, e.Seq), max(c.sum.LastSeq, e.Seq)
}

func widen(first, last *time.Time, at time.Time) {
	if at.Before(*first) {
		*first = at
	}
	if at.After(*last) {
		*last = at
	}
}

// flush gives out what is known of the patient.
func (c *computation) flush() error {
	if len(c.resources) == 0 {
		return nil
	}
	p := Patient{ID: c.patient}
	for _, name := range slices.Sorted(maps.Keys(c.resources)) {
		p.Resources = append(p.Resources, *c.resources[name])
	}
	clear(c.resources)
	return c.each(p)
}
