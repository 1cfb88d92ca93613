package pg_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
)

func TestMain(m *testing.M) { postgres.Main(m) }

const schema = `-- +goose Up
CREATE TABLE things (practice_id uuid NOT NULL, id uuid PRIMARY KEY, n int NOT NULL DEFAULT 0 CHECK (n >= 0));
ALTER TABLE things ENABLE ROW LEVEL SECURITY;
ALTER TABLE things FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON things USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE TABLE log (id text PRIMARY KEY);
GRANT SELECT, INSERT, UPDATE ON things TO records_app;
GRANT SELECT, INSERT ON log TO records_app;
`

// fixture is a database of its own, with an Access on it.
type fixture struct {
	pool      *pgxpool.Pool
	access    *pg.Access
	committed atomic.Int64

	mu    sync.Mutex
	ended map[string]bool // by event: whether Append was told that it was kept
}

func open(tb testing.TB, server *postgres.Server, opts pg.Options) *fixture {
	tb.Helper()
	name := server.Database(tb, "records")
	server.Migrate(tb, "records", name, pg.Set{Name: "test", FS: fstest.MapFS{"00001_things.sql": {Data: []byte(schema)}}})
	f := &fixture{pool: server.Pool(tb, "records", name)}
	f.ended = map[string]bool{}
	opts.Append, opts.Committed = f.append, func() { f.committed.Add(1) }
	f.access = pg.NewAccess(f.pool, opts)
	tb.Cleanup(f.access.Close)
	return f
}

func (f *fixture) append(b *pgx.Batch, events []*auditv1.Event) func(bool) {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.GetEventId()
	}
	b.Queue("INSERT INTO log SELECT unnest($1::text[])", ids)
	return func(kept bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, id := range ids {
			f.ended[id] = kept
		}
	}
}

func events(id string) []*auditv1.Event { return []*auditv1.Event{{EventId: id}} }

func insert(b *pgx.Batch, practice, id uuid.UUID, n int) {
	b.Queue("INSERT INTO things (practice_id, id, n) VALUES ($1, $2, $3)", practice, id, n)
}

func (f *fixture) has(t *testing.T, practice, id uuid.UUID) (thing, event bool) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), f.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT set_config('carekeep.practice', $1, true)", practice.String()); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM things WHERE id = $1), EXISTS (SELECT FROM log WHERE id = $2)",
			id, id.String()).Scan(&thing, &event)
	}))
	return thing, event
}

var errDecided = errors.New("decided against")

// Of many concurrent units, some fail in each way there is. Each unit's data and
// event must exist exactly when its Do returned nil, and its error be its own.
func TestUnitsCommitWithTheirEventsOrNotAtAll(t *testing.T) {
	t.Parallel()
	f := open(t, postgres.ForTest(t), pg.Options{})
	taken := uuid.New()
	practice := uuid.New()
	require.NoError(t, f.access.Do(t.Context(), pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { insert(b, practice, taken, 1) }}))

	type result struct {
		practice, id uuid.UUID
		kind         int
		err          error
	}
	results := make([]result, 64*20)
	var work sync.WaitGroup
	for worker := range 64 {
		work.Go(func() {
			for i := range 20 {
				r := result{practice: uuid.New(), id: uuid.New(), kind: (worker*7 + i) % 12}
				r.err = f.access.Do(t.Context(), f.unit(r.kind, r.practice, r.id, taken))
				results[worker*20+i] = r
			}
		})
	}
	work.Wait()
	for _, r := range results {
		switch r.kind {
		case 0:
			requireCode(t, "23505", r.err)
		case 1:
			requireCode(t, "23514", r.err)
		case 2:
			require.ErrorIs(t, r.err, errDecided)
		case 3:
			requireCode(t, "42P01", r.err)
		case 4:
			requireCode(t, "42501", r.err) // row-level security
		case 5:
			require.ErrorIs(t, r.err, pgx.ErrNoRows)
		case 6:
			require.ErrorContains(t, r.err, "log_pkey") // an event id that exists
		default:
			require.NoError(t, r.err)
		}
		thing, event := f.has(t, r.practice, r.id)
		require.Equal(t, r.err == nil, thing, "kind %d: data", r.kind)
		require.Equal(t, r.err == nil, event, "kind %d: event", r.kind)
		require.Equal(t, r.err == nil, f.ended[r.id.String()], "kind %d: what Append was told", r.kind)
	}
	require.Positive(t, f.committed.Load())
}

// unit inserts one thing and one event, and fails in the way that kind says.
func (f *fixture) unit(kind int, practice, id, taken uuid.UUID) pg.Unit {
	event := id.String()
	u := pg.Unit{Practice: practice, Alone: kind == 11}
	u.Queue = func(b *pgx.Batch) {
		insert(b, practice, id, 1)
		switch kind {
		case 0:
			insert(b, practice, taken, 1)
		case 1:
			insert(b, practice, uuid.New(), -1)
		case 3:
			b.Queue("SELECT FROM nowhere")
		case 4:
			insert(b, uuid.New(), uuid.New(), 1)
		case 5:
			b.Queue("SELECT n FROM things WHERE id = $1", uuid.New()).QueryRow(func(row pgx.Row) error {
				var n int
				return row.Scan(&n)
			})
		}
	}
	u.Decide = func() ([]*auditv1.Event, error) {
		switch kind {
		case 2:
			return nil, errDecided
		case 6:
			return append(events(event), events(event)...), nil
		}
		return events(event), nil
	}
	return u
}

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	var sql *pgconn.PgError
	require.ErrorAs(t, err, &sql)
	require.Equal(t, code, sql.Code)
}

// A group holds units of many practices: each sees and writes its own only, and
// nothing of a practice stays on the connection.
func TestDMD06_GroupCommitKeepsPracticesApart(t *testing.T) {
	t.Parallel()
	f := open(t, postgres.ForTest(t), pg.Options{Workers: 1})
	const practices, each = 16, 8
	release := make(chan struct{})
	blocked := f.block(t, release)
	var work sync.WaitGroup
	seen := make([]int, practices*each)
	for i := range seen {
		practice := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i%practices))
		work.Go(func() {
			err := f.access.Do(t.Context(), pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
				insert(b, practice, uuid.New(), 1)
				b.Queue("SELECT count(*) FROM things WHERE practice_id <> $1", practice).QueryRow(func(row pgx.Row) error {
					return row.Scan(&seen[i])
				})
				b.Queue("UPDATE things SET n = n + 100 WHERE practice_id <> $1", practice)
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	work.Wait()
	require.NoError(t, <-blocked)
	for i, n := range seen {
		require.Zero(t, n, "unit %d saw rows of other practices", i)
	}
	f.readTogether(t, practices, each)
	for i := range practices {
		practice := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i))
		var count, highest int
		require.NoError(t, f.access.Do(t.Context(), pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
			b.Queue("SELECT count(*), max(n) FROM things").QueryRow(func(row pgx.Row) error { return row.Scan(&count, &highest) })
		}}))
		require.Equal(t, each, count)
		require.Equal(t, 1, highest, "another practice changed this one's rows")
	}
	for range f.pool.Stat().TotalConns() {
		_, err := f.pool.Exec(t.Context(), "SELECT count(*) FROM things")
		require.Error(t, err, "a connection kept a practice after its group")
	}
	var none int
	require.NoError(t, f.access.Do(t.Context(), pg.Unit{Queue: func(b *pgx.Batch) {
		b.Queue("SELECT count(*) FROM things").QueryRow(func(row pgx.Row) error { return row.Scan(&none) })
	}}))
	require.Zero(t, none, "a unit of no practice saw rows")
}

// readTogether has one unit of each practice read in a group: a read that saw
// another's rows would fail nowhere, so the counts must be right.
func (f *fixture) readTogether(t *testing.T, practices, each int) {
	t.Helper()
	release := make(chan struct{})
	blocked := f.block(t, release)
	counts := make([][2]int, practices)
	var work sync.WaitGroup
	for i := range practices {
		practice := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i))
		work.Go(func() {
			if err := f.access.Do(t.Context(), pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
				b.Queue("SELECT count(*), count(*) FILTER (WHERE practice_id = $1) FROM things", practice).
					QueryRow(func(row pgx.Row) error { return row.Scan(&counts[i][0], &counts[i][1]) })
			}}); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	work.Wait()
	require.NoError(t, <-blocked)
	for i, c := range counts {
		require.Equal(t, [2]int{each, each}, c, "practice %d", i)
	}
}

// block keeps the one worker busy until release, so that a group gathers meanwhile.
func (f *fixture) block(t *testing.T, release chan struct{}) chan error {
	t.Helper()
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- f.access.Do(context.WithoutCancel(t.Context()), pg.Unit{Decide: func() ([]*auditv1.Event, error) {
			close(started)
			<-release
			return nil, nil
		}})
	}()
	<-started
	return done
}

func TestContextEndsAWaitingUnitOnly(t *testing.T) {
	t.Parallel()
	f := open(t, postgres.ForTest(t), pg.Options{Workers: 1})
	release := make(chan struct{})
	blocked := f.block(t, release)

	waiting, cancel := context.WithCancel(t.Context())
	queued := false
	left := make(chan error)
	go func() { left <- f.access.Do(waiting, pg.Unit{Queue: func(*pgx.Batch) { queued = true }}) }()
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	close(release)
	require.NoError(t, <-blocked)
	require.False(t, queued, "a unit that had left was run")

	// In the group, one unit's context ends between statements and commit: both are kept.
	release = make(chan struct{})
	blocked = f.block(t, release)
	leaving, leave := context.WithCancel(t.Context())
	defer leave()
	practice := uuid.New()
	ids := [2]uuid.UUID{uuid.New(), uuid.New()}
	outcomes := make(chan error, 2)
	for i, ctx := range []context.Context{leaving, t.Context()} {
		go func() {
			outcomes <- f.access.Do(ctx, pg.Unit{Practice: practice,
				Queue:  func(b *pgx.Batch) { insert(b, practice, ids[i], 1) },
				Decide: func() ([]*auditv1.Event, error) { leave(); return events(ids[i].String()), nil },
			})
		}()
	}
	close(release)
	require.NoError(t, <-blocked)
	for range 2 {
		// The first may have been withdrawn where it did not make the group.
		if err := <-outcomes; err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	_, second := f.has(t, practice, ids[1])
	require.True(t, second)
}

func TestAPanicIsItsOwners(t *testing.T) {
	t.Parallel()
	f := open(t, postgres.ForTest(t), pg.Options{Workers: 1})
	release := make(chan struct{})
	blocked := f.block(t, release)
	var work sync.WaitGroup
	var panics, good atomic.Int64
	for i := range 12 {
		work.Go(func() {
			defer func() {
				if recover() != nil {
					panics.Add(1)
				}
			}()
			practice, id := uuid.New(), uuid.New()
			err := f.access.Do(t.Context(), pg.Unit{Practice: practice,
				Queue: func(b *pgx.Batch) {
					insert(b, practice, id, 1)
					b.Queue("SELECT 1").QueryRow(func(pgx.Row) error {
						if i == 3 {
							panic("in a callback")
						}
						return nil
					})
				},
				Decide: func() ([]*auditv1.Event, error) {
					if i == 5 {
						panic("in decide")
					}
					return nil, nil
				}})
			if err == nil {
				good.Add(1)
			}
		})
	}
	close(release)
	work.Wait()
	require.NoError(t, <-blocked)
	require.Equal(t, int64(2), panics.Load())
	require.Equal(t, int64(10), good.Load())
}

func TestClosedAccessRefuses(t *testing.T) {
	t.Parallel()
	f := open(t, postgres.ForTest(t), pg.Options{})
	f.access.Close()
	for _, alone := range []bool{false, true} {
		require.Equal(t, errs.KindUnavailable, errs.KindOf(f.access.Do(t.Context(), pg.Unit{Alone: alone})))
	}
}

// The server is killed while units commit. Do answers with an error, and after
// the restart every unit that was reported committed is there with its event.
func TestKilledServerLosesNothingThatWasCommitted(t *testing.T) {
	t.Parallel()
	server, err := postgres.Start(t.Context(), postgres.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	f := open(t, server, pg.Options{Timeout: 20 * time.Second})
	practice := uuid.New()

	var stop, failed atomic.Bool
	var count atomic.Int64
	var mu sync.Mutex
	var kept []uuid.UUID
	var work sync.WaitGroup
	for range 32 {
		work.Go(func() {
			for !stop.Load() {
				id := uuid.New()
				err := f.access.Do(t.Context(), f.unit(9, practice, id, id))
				if err == nil {
					count.Add(1)
					mu.Lock()
					kept = append(kept, id)
					mu.Unlock()
					continue
				}
				failed.Store(true)
				if errs.KindOf(err) != errs.KindUnavailable {
					t.Errorf("kind %v: %v", errs.KindOf(err), err)
				}
			}
		})
	}
	reach := func(n int64) {
		require.Eventually(t, func() bool { return count.Load() >= n }, time.Minute, time.Millisecond)
	}
	for range 3 {
		reach(count.Load() + 300)
		failed.Store(false)
		server.Kill()
		require.Eventually(t, failed.Load, time.Minute, time.Millisecond, "Do did not fail while the server was gone")
		require.NoError(t, server.Restart(t.Context()))
	}
	reach(count.Load() + 300)
	stop.Store(true)
	work.Wait()
	for _, id := range kept {
		thing, event := f.has(t, practice, id)
		require.True(t, thing && event, "%s was reported committed: data %v, event %v", id, thing, event)
	}
	t.Logf("%d units survived three kills", len(kept))
}
