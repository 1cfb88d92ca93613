package pg_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/pg"
)

const clients = 32

// BenchmarkAccess compares reads with evidence at 32 clients, fsync on: grouped
// commits, and one transaction per unit in the same two round trips. "ratio" is
// how many times faster the group is.
func BenchmarkAccess(b *testing.B) {
	server, err := postgres.Start(b.Context(), postgres.Options{})
	require.NoError(b, err)
	defer server.Stop()
	f := open(b, server, pg.Options{})
	practice, id := uuid.New(), uuid.New()
	require.NoError(b, f.access.Do(b.Context(), pg.Unit{Practice: practice, Queue: func(q *pgx.Batch) { insert(q, practice, id, 1) }}))

	read := func(alone bool) error {
		var n int
		return f.access.Do(b.Context(), pg.Unit{Practice: practice, Alone: alone,
			Queue: func(q *pgx.Batch) {
				q.Queue("SELECT n FROM things WHERE id = $1", id).QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
			},
			Decide: func() ([]*auditv1.Event, error) { return events(uuid.NewString()), nil },
		})
	}
	perSecond := func(n int, alone bool) float64 {
		var left atomic.Int64
		left.Store(int64(n))
		var work sync.WaitGroup
		started := time.Now()
		for range clients {
			work.Go(func() {
				for left.Add(-1) >= 0 {
					if err := read(alone); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		return float64(n) / time.Since(started).Seconds()
	}
	perSecond(2000, true) // connections and plans
	for b.Loop() {
		single := perSecond(10000, true)
		grouped := perSecond(30000, false)
		b.ReportMetric(single, "single/s")
		b.ReportMetric(grouped, "grouped/s")
		b.ReportMetric(grouped/single, "ratio")
	}
}
