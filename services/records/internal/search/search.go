package search

import (
	"context"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Engine runs searches. Safe for concurrent use.
type Engine struct {
	chart *chart.Chart
	keys  *keys.Keys
}

// New makes an Engine.
func New(c *chart.Chart, k *keys.Keys) *Engine { return &Engine{chart: c, keys: k} }

// Result is one page of a search.
type Result struct {
	Documents []chart.Document
	// Next is the value of _page that leads to the next page; empty at the end.
	Next string
}

// Run runs a search, or goes on with one. It shows what the caller's care teams
// open, and leaves an audit event for each patient it shows. Whether the caller may read
// resources of the type at all the caller of this function has asked before
// (policy.CheckRead, or the fields of a typed message).
func (e *Engine) Run(ctx context.Context, q *Query) (Result, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return Result{}, errs.New(errs.KindUnauthenticated, "NO_CALLER", "The request names no caller.")
	}
	practice, err := e.keys.Practice(ctx, who.Practice)
	if err != nil {
		return Result{}, err
	}
	var after store.Cursor
	if q.page != "" {
		if q, after, err = openPage(practice, who.User, q.Type, q.page); err != nil {
			return Result{}, err
		}
	}
	hits, err := e.chart.Match(ctx, func(p *keys.Practice, g index.Generation) (store.Search, error) { return q.plan(p, g, after) })
	if err != nil {
		return Result{}, err
	}
	out := Result{Documents: hits.Documents}
	if hits.More {
		out.Next, err = sealPage(practice, who.User, q, hits.Last)
	}
	return out, err
}

// Criteria are what the store looks for to run a query from its beginning.
func (q *Query) Criteria() chart.Criteria {
	return func(p *keys.Practice, g index.Generation) (store.Search, error) { return q.plan(p, g, store.Cursor{}) }
}
