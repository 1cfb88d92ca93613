package fhirapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/interact"
	"github.com/carekeep/carekeep/services/records/policy"
)

// Process implements the RPC.
func (s *Service) Process(ctx context.Context, r *recordsv1.FhirServiceProcessRequest) (*recordsv1.FhirAnswer, error) {
	kind, entries, err := parseBundle(r.GetContent())
	if err != nil {
		return nil, err
	}
	answers := make([]reply, len(entries))
	if kind == "batch" {
		b := newBudget()
		for i, e := range entries {
			answers[i] = s.single(ctx, e, b)
		}
	} else {
		for try := 0; try == 0 || errors.Is(err, interact.ErrExists) && try <= conditionTries; try++ {
			answers, err = s.together(ctx, entries)
		}
		if err != nil {
			return nil, located(err)
		}
	}
	// Nothing leaves without evidence, and reads and the entries of a batch may all fail. The
	// changes of a transaction have theirs, and no failure may follow them.
	changing := func(e entry) bool { return e.method != http.MethodGet }
	if kind == "batch" || !slices.ContainsFunc(entries, changing) {
		if err := s.Store.Record(ctx, len(entries)); err != nil {
			return nil, err
		}
	}
	w := newBundle(s.Base, kind+"-response", s.Now())
	for _, a := range answers {
		w.reply(a)
	}
	return &recordsv1.FhirAnswer{Content: w.close()}, nil
}

// reply is the answer to one entry.
type reply struct {
	*recordsv1.FhirAnswer
	method string
	err    error
}

// located names the entry that made a transaction fail.
func located(err error) error {
	var at *interact.EntryError
	var public *errs.Error
	if !errors.As(err, &at) || !errors.As(err, &public) {
		return err
	}
	return public.WithField(fmt.Sprintf("Bundle.entry[%d]", at.Index), "is refused, and so the whole transaction is undone")
}

// permitted asks for what the entry's interaction takes when it comes alone: the rule of its RPC.
func permitted(ctx context.Context, e entry) error {
	rule, ok := access.RuleOf(e.rpc)
	if !ok || !caller.ViewOf(ctx).Held.Has(rule.GetPermission()) {
		return errs.New(errs.KindDenied, "PERMISSION_MISSING", "An entry of this kind needs "+rule.GetPermission().String()+".")
	}
	return nil
}

// single carries out one entry of a batch.
func (s *Service) single(ctx context.Context, e entry, b *budget) reply {
	out := reply{method: e.method, err: e.problem}
	if out.err == nil {
		out.err = permitted(ctx, e)
	}
	if out.err == nil {
		out.err = b.admit(ctx, e, s.Over)
	}
	if out.err == nil {
		out.FhirAnswer, out.err = s.one(ctx, e)
	}
	if out.err == nil {
		out.err = b.take(e, out.FhirAnswer)
	}
	if out.err != nil {
		// Some refusals have an event already; two tell no more than one.
		if err := s.Store.Refused(ctx, out.err); err != nil {
			out.err = err
		}
	}
	return out
}

func (s *Service) one(ctx context.Context, e entry) (*recordsv1.FhirAnswer, error) {
	switch e.method {
	case http.MethodPost:
		return s.Create(ctx, &recordsv1.FhirServiceCreateRequest{Type: e.kind, Content: e.resource, NoneExist: e.noneExist})
	case http.MethodPut:
		return s.Update(ctx, &recordsv1.FhirServiceUpdateRequest{Type: e.kind, Id: e.id, Content: e.resource, Match: e.match})
	case http.MethodDelete:
		return s.Delete(ctx, &recordsv1.FhirServiceDeleteRequest{Type: e.kind, Id: e.id, Match: e.match})
	case http.MethodGet:
		if e.version != "" {
			return s.ReadVersion(ctx, &recordsv1.FhirServiceReadVersionRequest{Type: e.kind, Id: e.id, Version: e.version})
		}
		return s.Read(ctx, &recordsv1.FhirServiceReadRequest{Type: e.kind, Id: e.id})
	}
	return nil, errEntryMethod
}

// together carries out a transaction: every change, or none; what is only read comes last
// (R4 3.1.0.11.2).
func (s *Service) together(ctx context.Context, entries []entry) ([]reply, error) {
	answers := make([]reply, len(entries))
	changes := make([]interact.Change, 0, len(entries))
	where := make([]int, 0, len(entries)) // of each change, its entry
	if err := s.decide(ctx, entries, answers); err != nil {
		return nil, err
	}
	links := linksOf(entries, answers)
	// Deletions first, then creations and updates.
	order := []string{http.MethodDelete, http.MethodPost, http.MethodPut}
	for _, method := range order {
		for i, e := range entries {
			if e.method != method || answers[i].FhirAnswer != nil {
				continue
			}
			change, err := e.change(links)
			if err != nil {
				return nil, &interact.EntryError{Index: i, Err: err}
			}
			changes, where = append(changes, change), append(where, i)
		}
	}
	done, err := s.Store.Apply(ctx, changes)
	var at *interact.EntryError
	if errors.As(err, &at) {
		return nil, &interact.EntryError{Index: where[at.Index], Err: at.Err}
	}
	if err != nil {
		return nil, err
	}
	for i, d := range done {
		answers[where[i]].FhirAnswer = stored(entries[where[i]].method, d)
	}
	// The changes stand by now: a read that fails is the failure of its entry alone. Where there are none,
	// reads that have no room are refused together.
	b := newBudget()
	for i, e := range entries {
		if e.method != http.MethodGet {
			continue
		}
		if answers[i] = s.single(ctx, e, b); len(changes) == 0 && errors.Is(answers[i].err, errAnswerFull) {
			return nil, &interact.EntryError{Index: i, Err: errAnswerFull}
		}
	}
	return answers, nil
}

func stored(method string, d chart.Document) *recordsv1.FhirAnswer {
	a := answer(d)
	a.Content = nil
	switch method {
	case http.MethodPost:
		a.Status = http.StatusCreated
	case http.MethodDelete:
		a.Status = http.StatusNoContent
	}
	return a
}

// decide refuses what cannot be carried out, and gives new resources their ids. A
// conditional create that finds its resource is answered here.
func (s *Service) decide(ctx context.Context, entries []entry, answers []reply) error {
	seen := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		fail := func(err error) error { return &interact.EntryError{Index: i, Err: err} }
		answers[i].method = e.method
		if e.problem != nil {
			return fail(e.problem)
		}
		if err := permitted(ctx, *e); err != nil {
			return fail(err)
		}
		if e.method == http.MethodPut || e.method == http.MethodDelete {
			if seen[e.kind+"/"+e.id] {
				return fail(errs.New(errs.KindInvalid, "ENTRY_DUPLICATE", "Two entries of a transaction change the same resource."))
			}
			seen[e.kind+"/"+e.id] = true
		}
		if e.method != http.MethodPost {
			continue
		}
		if condition := e.kind + "?" + e.noneExist; e.noneExist != "" {
			if seen[condition] {
				return fail(errs.New(errs.KindInvalid, "ENTRY_DUPLICATE", "Two entries of a transaction create under the same condition."))
			}
			seen[condition] = true
		}
		found, unless, err := s.existing(ctx, e.kind, e.noneExist)
		if err != nil {
			return fail(err)
		}
		if e.unless = unless; found != nil {
			found.Content = nil
			answers[i].FhirAnswer, e.id = found, found.GetId()
			continue
		}
		e.id = uuid.Must(uuid.NewV7()).String()
	}
	return nil
}

// linksOf are the references by which entries name each other, and what they become.
func linksOf(entries []entry, answers []reply) map[string]string {
	links := map[string]string{}
	for i, e := range entries {
		if e.fullURL != "" && slices.Contains([]string{http.MethodPost, http.MethodPut}, answers[i].method) {
			links[e.fullURL] = e.kind + "/" + e.id
		}
	}
	return links
}

// change is what an entry of a transaction does.
func (e entry) change(links map[string]string) (interact.Change, error) {
	if e.method == http.MethodDelete {
		return interact.Change{Kind: policy.Delete, Type: e.kind, ID: parseID(e.id), Match: e.match}, nil
	}
	content, err := relink(e.resource, links)
	if err != nil {
		return interact.Change{}, err
	}
	if e.method == http.MethodPut {
		return replacement(e.kind, e.id, e.match, content)
	}
	change, err := creationAs(e.kind, parseID(e.id), content)
	change.Unless = e.unless
	return change, err
}

// reply adds the answer to an entry.
func (w *writer) reply(a reply) {
	w.begin()
	defer w.end()
	if a.err != nil {
		w.text(`"response":{"status":` + quote(statusLine(outcome.Status(a.err))) + `,"outcome":`)
		w.raw(outcome.Of(a.err))
		w.text(`}`)
		return
	}
	if a.method == http.MethodGet {
		w.text(`"fullUrl":` + quote(w.base+"/"+a.GetType()+"/"+a.GetId()) + `,"resource":`)
		w.raw(a.GetContent())
		w.text(`,`)
	}
	status := int(a.GetStatus())
	if status == 0 {
		status = http.StatusOK
	}
	w.text(`"response":{"status":` + quote(statusLine(status)))
	if a.GetId() != "" && a.method != http.MethodGet && a.method != http.MethodDelete {
		w.text(`,"location":` + quote(fmt.Sprintf("%s/%s/%s/_history/%d", w.base, a.GetType(), a.GetId(), a.GetVersion())))
	}
	if a.GetVersion() != 0 {
		w.text(`,"etag":` + quote(Etag(a.GetVersion())) + `,"lastModified":` + quote(instant(a.GetUpdateTime().AsTime())))
	}
	w.text(`}`)
}

func statusLine(status int) string { return fmt.Sprintf("%d %s", status, http.StatusText(status)) }
