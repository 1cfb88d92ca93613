package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

// Epoch is what is known of the outbox rows of one process. Zero times are none.
type Epoch struct {
	Service int16
	ID      uuid.UUID

	Arrived ranges.Set
	Claimed ranges.Set
	Told    ranges.Set // a finding tells of them

	Missing      ranges.Set // claimed and not arrived
	MissingSince time.Time
	Denied       ranges.Set // arrived, and the process knows nothing of it
	DeniedSince  time.Time

	Beat   time.Time // when the last heartbeat came
	Late   bool
	Silent bool
	Ended  bool // it said goodbye
}

// Finding is something that the sweep of outboxes found.
type Finding struct {
	ID      uuid.UUID // a UUIDv7, also the id of its event in the log
	Reason  string
	Service int16
	Epoch   uuid.UUID
	Numbers ranges.Set // none where it is not about rows
	Time    time.Time
}

// Served is calls that a process says it served.
type Served struct {
	Service int16
	Epoch   uuid.UUID
	Minute  int64 // since 1970
	Method  string
	Calls   int64
}

// Epochs returns what is known of the processes that are not long gone, and how far arrivals were
// read. Long gone are those that miss nothing and ended, or fell silent, before a moment, or never
// sent a heartbeat.
func (s *Store) Epochs(ctx context.Context, old time.Time) ([]Epoch, int64, error) {
	var cursor int64
	if err := s.pool.QueryRow(ctx, "SELECT id FROM outbox_cursor").Scan(&cursor); err != nil {
		return nil, 0, failed("read how far arrivals were read", err)
	}
	list, err := s.epochs(ctx, "WHERE NOT ((ended OR silent OR beat_time < '1970-01-01') AND missing = '{}' AND beat_time < $1)", old)
	return list, cursor, err
}

// EpochOf returns what is known of one process, if anything.
func (s *Store) EpochOf(ctx context.Context, service int16, epoch uuid.UUID) ([]Epoch, error) {
	return s.epochs(ctx, "WHERE service = $1 AND epoch = $2", service, epoch)
}

func (s *Store) epochs(ctx context.Context, where string, args ...any) ([]Epoch, error) {
	rows, err := s.pool.Query(ctx, `SELECT service, epoch, arrived::text, claimed::text, told::text, missing::text, missing_time,
		denied::text, denied_time, beat_time, late, silent, ended FROM outbox_epochs `+where, args...)
	if err != nil {
		return nil, failed("read epochs", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Epoch, error) {
		var e Epoch
		err := row.Scan(&e.Service, &e.ID, set{&e.Arrived}, set{&e.Claimed}, set{&e.Told}, set{&e.Missing}, &e.MissingSince,
			set{&e.Denied}, &e.DeniedSince, &e.Beat, &e.Late, &e.Silent, &e.Ended)
		e.MissingSince, e.DeniedSince, e.Beat = e.MissingSince.UTC(), e.DeniedSince.UTC(), e.Beat.UTC()
		return e, err
	})
	return list, failed("read epochs", err)
}

const saveEpochSQL = `
	INSERT INTO outbox_epochs (service, epoch, arrived, claimed, told, missing, missing_time, denied, denied_time, beat_time, late, silent, ended)
	VALUES ($1, $2, $3::text::int8multirange, $4::text::int8multirange, $5::text::int8multirange, $6::text::int8multirange, $7,
		$8::text::int8multirange, $9, $10, $11, $12, $13)
	ON CONFLICT (service, epoch) DO UPDATE SET arrived = excluded.arrived, claimed = excluded.claimed, told = excluded.told,
		missing = excluded.missing, missing_time = excluded.missing_time, denied = excluded.denied, denied_time = excluded.denied_time,
		beat_time = excluded.beat_time, late = excluded.late, silent = excluded.silent, ended = excluded.ended`

// Account is what one sweep changes, all of it or nothing.
type Account struct {
	Cursor   int64
	Epochs   []Epoch
	Findings []Finding
	Served   []Served
}

// SaveAccount writes a sweep's account. Counts of calls that are there already stay as they are.
func (s *Store) SaveAccount(ctx context.Context, a Account) error {
	b := &pgx.Batch{} // without BEGIN it is one transaction
	for _, e := range a.Epochs {
		b.Queue(saveEpochSQL, e.Service, e.ID, e.Arrived.String(), e.Claimed.String(), e.Told.String(), e.Missing.String(), e.MissingSince,
			e.Denied.String(), e.DeniedSince, e.Beat, e.Late, e.Silent, e.Ended)
	}
	for _, f := range a.Findings {
		b.Queue(`INSERT INTO outbox_findings (finding_id, reason, service, epoch, numbers, create_time)
			VALUES ($1, $2, $3, $4, $5::text::int8multirange, $6)`, f.ID, f.Reason, f.Service, f.Epoch, f.Numbers.String(), f.Time)
	}
	for _, c := range a.Served {
		b.Queue(`INSERT INTO served_calls (service, epoch, minute, method, calls) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			c.Service, c.Epoch, c.Minute, c.Method, c.Calls)
	}
	b.Queue("UPDATE outbox_cursor SET id = $1 WHERE id < $1", a.Cursor)
	return failed("save the account of outboxes", s.pool.SendBatch(ctx, b).Close())
}

// UnloggedFindings returns the findings since a moment that the log does not hold yet.
func (s *Store) UnloggedFindings(ctx context.Context, since time.Time) ([]Finding, error) {
	rows, err := s.pool.Query(ctx, `SELECT finding_id, reason, service, epoch, numbers::text, create_time
		FROM outbox_findings WHERE create_time >= $1 ORDER BY finding_id`, since)
	if err != nil {
		return nil, failed("read findings", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Finding, error) {
		var f Finding
		err := row.Scan(&f.ID, &f.Reason, &f.Service, &f.Epoch, set{&f.Numbers}, &f.Time)
		return f, err
	})
	if err != nil || len(list) == 0 {
		return nil, failed("read findings", err)
	}
	ids := make([]uuid.UUID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	known, err := KnownEvents(ctx, s.pool, ids)
	if err != nil {
		return nil, failed("look for findings", err)
	}
	var missing []Finding
	for _, f := range list {
		if !known[f.ID] {
			missing = append(missing, f)
		}
	}
	return missing, nil
}

// ServedCalls returns the calls of all processes in the minutes [from, to), by service and method.
func (s *Store) ServedCalls(ctx context.Context, from, to int64) ([]Served, error) {
	rows, err := s.pool.Query(ctx, `SELECT service, method, sum(calls)::bigint FROM served_calls
		WHERE minute >= $1 AND minute < $2 GROUP BY service, method`, from, to)
	if err != nil {
		return nil, failed("read served calls", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Served, error) {
		var c Served
		err := row.Scan(&c.Service, &c.Method, &c.Calls)
		return c, err
	})
	return list, failed("read served calls", err)
}

// EachEntry calls do with the entries of all practices that were appended in [from, to), in order,
// and reads so many at a time. Whoever calls it takes counts from them and shows nothing else.
func (s *Store) EachEntry(ctx context.Context, from, to time.Time, page int64, do func(Logged)) error {
	d := NewDetect(s.pool)
	seq, err := d.SeqAt(ctx, from)
	if err != nil {
		return failed("read entries", err)
	}
	for {
		entries, err := d.Entries(ctx, seq, seq+page)
		if err != nil || len(entries) == 0 {
			return failed("read entries", err)
		}
		for _, e := range entries {
			if !e.AppendTime.Before(to) {
				return nil
			}
			do(e)
		}
		seq = entries[len(entries)-1].Seq + 1
	}
}
