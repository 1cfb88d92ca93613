package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

// Arrival is outbox rows of one process that came together.
type Arrival struct {
	Service int16
	Epoch   uuid.UUID
	Numbers ranges.Set
	Claimed ranges.Set // what they say was committed before them
	Events  int        // in them, new or not
}

const arriveSQL = `INSERT INTO outbox_arrivals (service, epoch, numbers, claimed, events, append_time)
	VALUES ($1, $2, $3::text::int8multirange, $4::text::int8multirange, $5, $6)`

func queueArrivals(b *pgx.Batch, arrivals []Arrival, at time.Time) {
	for _, a := range arrivals {
		b.Queue(arriveSQL, a.Service, a.Epoch, a.Numbers.String(), a.Claimed.String(), a.Events, at)
	}
}

// Arrive notes rows whose events the log holds already.
func Arrive(ctx context.Context, conn Queryer, arrivals []Arrival, at time.Time) error {
	b := &pgx.Batch{}
	queueArrivals(b, arrivals, at)
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("note outbox rows that came: %w", err)
	}
	return nil
}

// Arrivals returns at most limit arrivals after a place in their order, and the place of the last.
func (s *Store) Arrivals(ctx context.Context, after int64, limit int) ([]Arrival, int64, error) {
	rows, err := s.pool.Query(ctx,
		"SELECT id, service, epoch, numbers::text, claimed::text, events FROM outbox_arrivals WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, after, failed("read arrivals", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Arrival, error) {
		var a Arrival
		err := row.Scan(&after, &a.Service, &a.Epoch, set{&a.Numbers}, set{&a.Claimed}, &a.Events)
		return a, err
	})
	return list, after, failed("read arrivals", err)
}

// set scans a multirange that was cast to text.
type set struct{ into *ranges.Set }

// Scan implements sql.Scanner.
func (s set) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("a multirange came as %T", value)
	}
	parsed, err := ranges.Parse(text)
	*s.into = parsed
	return err
}
