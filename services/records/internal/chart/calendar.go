package chart

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Span is the time from Start to before End.
type Span struct{ Start, End time.Time }

// Calendar returns the appointments of a doctor that touch the span, or with the nil
// doctor those of the practice, of patients whom the caller may see, in order of time.
func (c *Chart) Calendar(ctx context.Context, doctor uuid.UUID, span Span, page Page) ([]Document, string, error) {
	_, v, err := View(ctx)
	if err != nil {
		return nil, "", err
	}
	scope := "calendar/" + doctor.String() + "/" + span.Start.UTC().Format(time.RFC3339)
	after, err := parseMoment(page.Token, scope)
	if err != nil {
		return nil, "", err
	}
	practice, err := c.keys.Practice(ctx, v.Practice)
	if err != nil {
		return nil, "", err
	}
	tokens := calendarTokens(practice, span.Start, span.End)
	if doctor != uuid.Nil {
		tokens = doctorTokens(practice, doctor, span.Start, span.End)
	}
	var found []store.Dated
	rows, err := c.patients(ctx, v, page.size(), func(b *pgx.Batch, out *[]store.Document) {
		store.ListCalendar(b, v, tokens, after, page.size()+1, &found, out)
	})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if shown := Fit(rows, page.size()); shown < len(rows) {
		rows, next = rows[:shown], momentToken(scope, found[shown-1])
	}
	docs, err := c.OpenAll(watch.InPassing(ctx), v.Practice, rows)
	return docs, next, err
}

// A token of a calendar is like that of other lists, with a place in the day instead of a time.
func momentToken(scope string, last store.Dated) string {
	raw := binary.BigEndian.AppendUint32([]byte{tokenVersion}, checksum(scope))
	raw = binary.BigEndian.AppendUint64(raw, uint64(last.Place))
	return base64.RawURLEncoding.EncodeToString(append(raw, last.ID[:]...))
}

func parseMoment(token, scope string) (store.Moment, error) {
	at, err := parseToken(token, scope, store.Cursor{Created: time.UnixMicro(0)})
	return store.Moment{Place: at.Created.UnixMicro(), ID: at.ID}, err
}

// Held reports which times of a doctor are taken, and leaves an event that this was asked.
func (c *Chart) Held(ctx context.Context, doctor uuid.UUID, span Span) (func(Span) bool, error) {
	_, v, err := View(ctx)
	if err != nil {
		return nil, err
	}
	practice, err := c.keys.Practice(ctx, v.Practice)
	if err != nil {
		return nil, err
	}
	var tokens [][]byte
	err = c.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadHeld(b, v.Practice, doctorTokens(practice, doctor, span.Start, span.End), &tokens)
		},
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("freeSlots/"+doctor.String(), 0))}, nil
		},
	})
	held := make(map[string]bool, len(tokens))
	for _, t := range tokens {
		held[string(t)] = true
	}
	return func(s Span) bool { return anyHeld(practice, held, doctor, s) }, err
}

func anyHeld(practice *keys.Practice, held map[string]bool, doctor uuid.UUID, s Span) bool {
	for _, t := range doctorTokens(practice, doctor, s.Start, s.End) {
		if held[string(t)] {
			return true
		}
	}
	return false
}
