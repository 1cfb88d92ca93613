package glass

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// scopeOpenings is the list of openings, for page tokens.
const scopeOpenings = "glassOpenings"

// List returns openings, newest first, and the token of the next page; without all,
// those that nobody reviewed.
func (g *Glass) List(ctx context.Context, all bool, page chart.Page) ([]Opening, string, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return nil, "", err
	}
	after, err := page.After(scopeOpenings)
	if err != nil {
		return nil, "", err
	}
	var rows []store.Opening
	next := ""
	err = g.access.Do(ctx, pg.Unit{
		Practice: c.Practice,
		Queue:    func(b *pgx.Batch) { store.ListOpenings(b, c.Practice, all, after, page.Limit()+1, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			if next = ""; len(rows) > page.Limit() {
				rows = rows[:page.Limit()]
				last := rows[len(rows)-1]
				next = chart.PageToken(scopeOpenings, store.Cursor{Created: last.Opened, ID: last.ID})
			}
			if len(rows) == 0 {
				return []*auditv1.Event{evidence.From(ctx).Event()}, nil
			}
			events := make([]*auditv1.Event, len(rows))
			for i, o := range rows {
				events[i] = event(ctx, o, evidence.Count(1))
			}
			return events, nil
		},
	})
	if err != nil {
		return nil, "", err
	}
	out, err := g.openAll(ctx, c.Practice, rows)
	return out, next, err
}

// Review stores what somebody else than the opener found.
func (g *Glass) Review(ctx context.Context, opening uuid.UUID, finding recordsv1.GlassFinding) (Opening, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return Opening{}, err
	}
	var before, after store.Opening
	var found, done bool
	queue := func(b *pgx.Batch) {
		store.ReadOpening(b, c.Practice, opening, &before, &found)
		store.ReviewGlass(b, c.Practice, c.User, opening, int16(finding), &after, &done) //nolint:gosec // an enum of three
	}
	if err := g.one(ctx, c, queue, func() (*auditv1.Event, error) {
		switch {
		case !found:
			return nil, errNone
		case before.User == c.User:
			return nil, errOwn
		case !done:
			return nil, errReviewed
		case finding == recordsv1.GlassFinding_GLASS_FINDING_UNJUSTIFIED:
			return event(ctx, after, evidence.Reason(reasonUnjustified), evidence.Risk(auditv1.Risk_RISK_CRITICAL)), nil
		}
		return event(ctx, after), nil
	}); err != nil {
		return Opening{}, err
	}
	return g.open(ctx, c.Practice, after)
}

func (g *Glass) open(ctx context.Context, practice uuid.UUID, o store.Opening) (Opening, error) {
	list, err := g.openAll(ctx, practice, []store.Opening{o})
	if err != nil {
		return Opening{}, err
	}
	return list[0], nil
}

// openAll unseals reasons. One whose key was destroyed with its patient is empty.
func (g *Glass) openAll(ctx context.Context, practice uuid.UUID, rows []store.Opening) ([]Opening, error) {
	var wrapped []keys.Wrapped
	for _, o := range rows {
		if o.Wrapped != "" {
			wrapped = append(wrapped, keys.Wrapped{ID: o.KeyID, Patient: o.Patient, Blob: o.Wrapped})
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	ring, err := g.keys.GetAll(ctx, practice, wrapped)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, key := range ring {
			key.Release()
		}
	}()
	out := make([]Opening, len(rows))
	for i, o := range rows {
		out[i] = Opening{Opening: o}
		key := ring[o.KeyID]
		if key == nil {
			continue
		}
		plain, err := key.Open(binding(practice, o), o.Reason)
		if err != nil {
			return nil, g.alarm(ctx, practice, o, err)
		}
		out[i].Reason = string(plain)
	}
	return out, nil
}

// alarm records that a stored reason is not what was stored (claim DH-17).
func (g *Glass) alarm(ctx context.Context, practice uuid.UUID, o store.Opening, broken error) error {
	err := g.access.Do(ctx, pg.Unit{Practice: practice, Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{event(ctx, o, evidence.Failure(broken))}, nil
	}})
	if err != nil {
		return err
	}
	return broken
}

// Overdue tells the audit log, once, of each opening that nobody reviewed in time.
func (g *Glass) Overdue(ctx context.Context) error {
	after := uuid.Nil
	for {
		var practices []uuid.UUID
		err := g.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.Practices(b, after, practicesAtOnce, &practices) }})
		if err != nil || len(practices) == 0 {
			return err
		}
		for _, practice := range practices {
			if err := g.overdue(ctx, practice); err != nil {
				return err
			}
		}
		after = practices[len(practices)-1]
	}
}

// practicesAtOnce is how many practices are read in one go.
const practicesAtOnce = 500

func (g *Glass) overdue(ctx context.Context, practice uuid.UUID) error {
	ctx = evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_RECORDS, "glass.Overdue", accessv1.Action_ACTION_ALERT))
	var rows []store.Opening
	return g.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.MarkOverdue(b, practice, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			events := make([]*auditv1.Event, len(rows))
			for i, o := range rows {
				events[i] = event(ctx, o, evidence.Practice(practice), evidence.Reason(reasonOverdue), evidence.Risk(auditv1.Risk_RISK_CRITICAL))
			}
			return events, nil
		},
	})
}

// Watch runs Overdue again and again until ctx ends. What fails is tried again with the next.
func (g *Glass) Watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := g.Overdue(ctx); err != nil && ctx.Err() == nil {
				g.log.WarnContext(ctx, "overdue reviews of break-glass were not looked for", telemetry.KeyError, err.Error())
			}
		}
	}
}

// Users returns who may break the glass.
func (g *Glass) Users(ctx context.Context) ([]store.Designated, error) {
	c, _, err := chart.View(ctx)
	if err != nil {
		return nil, err
	}
	var list []store.Designated
	err = g.one(ctx, c, func(b *pgx.Batch) { store.ListDesignated(b, c.Practice, &list) }, func() (*auditv1.Event, error) {
		return evidence.From(ctx).Event(evidence.Resource(scopeUsers, 0), evidence.Count(len(list))), nil
	})
	return list, err
}

const scopeUsers = "glassUsers"

// Designate lets another user break the glass.
func (g *Glass) Designate(ctx context.Context, user uuid.UUID) (store.Designated, error) {
	var made store.Designated
	var done bool
	err := g.designation(ctx, user, func(b *pgx.Batch, c *caller.Caller) {
		if user != c.User {
			store.Designate(b, c.Practice, user, c.User, &made, &done)
		}
	}, func(c *caller.Caller) error {
		if user == c.User {
			return errSelf
		}
		return nil
	})
	return made, err
}

// Withdraw takes it back, and ends what the user has open.
func (g *Glass) Withdraw(ctx context.Context, user uuid.UUID) error {
	var done bool
	return g.designation(ctx, user, func(b *pgx.Batch, c *caller.Caller) {
		store.Withdraw(b, c.Practice, user, &done)
	}, func(*caller.Caller) error {
		if !done {
			return errNone
		}
		return nil
	})
}

func (g *Glass) designation(ctx context.Context, user uuid.UUID, queue func(*pgx.Batch, *caller.Caller), check func(*caller.Caller) error) error {
	c, _, err := chart.View(ctx)
	if err != nil {
		return err
	}
	return g.one(ctx, c, func(b *pgx.Batch) { queue(b, c) }, func() (*auditv1.Event, error) {
		if err := check(c); err != nil {
			return nil, err
		}
		return evidence.From(ctx).Event(evidence.Resource(scopeUsers+"/"+user.String(), 0)), nil
	})
}
