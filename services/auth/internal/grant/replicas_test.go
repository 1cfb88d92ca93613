package grant_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// Each access lapses once, with one event, whatever the number of replicas: all
// of them run the same review at the same moment.
func TestDH09_ReplicasReviewEachAccessOnce(t *testing.T) {
	t.Parallel()
	// More than three batches of lapse_certifications.
	const users = 700
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	replicas := []*testkit.Auth{w.Auth, w.Replica()}
	count := func(sql string, args ...any) (n int) {
		w.Admin(func(ctx context.Context, conn *pgx.Conn) {
			require.NoError(t, conn.QueryRow(ctx, sql, args...).Scan(&n))
		})
		return n
	}
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, `INSERT INTO users (id, practice_id, username, display_name, email_sealed, role, template, created, updated, created_by)
			SELECT gen_random_uuid(), u.practice_id, 'nurse-' || n, 'x', 'x', 4, 'nurse', u.created, u.created, u.id
			FROM users u, generate_series(1, $2) n WHERE u.id = $1`, alice.ID, users)
		require.NoError(t, err)
	})
	review := func() {
		var work sync.WaitGroup
		failed := make(chan error, 4*len(replicas))
		for _, replica := range replicas {
			for range 4 {
				work.Go(func() { failed <- replica.App.Upkeep(w.Context()) })
			}
		}
		work.Wait()
		close(failed)
		for err := range failed {
			require.NoError(t, err)
		}
	}
	w.Clock.Advance(92 * 24 * time.Hour)
	review()
	const all = users + 2 // with alice and the superadmin
	require.Equal(t, all, count("SELECT count(*) FROM certification_items"))

	w.Clock.Advance(14 * 24 * time.Hour)
	review()
	require.Equal(t, all, count("SELECT count(*) FROM certification_items WHERE outcome = 3"))
	require.Equal(t, all, count("SELECT count(*) FROM users WHERE certified_until = $1", w.Clock.Now()))
	events := map[string]int{}
	for _, e := range w.Events() {
		if e.GetReason() == "CERTIFICATION_LAPSED" {
			events[e.GetResource()]++
		}
	}
	require.Len(t, events, all)
	for item, times := range events {
		require.Equal(t, 1, times, item)
	}
}
