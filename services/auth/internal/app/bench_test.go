package app_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/auth/internal/admit"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

const (
	clients    = 32
	benchUsers = 20_000
)

// BenchmarkAdmit compares what Admit does for a request (session, idle time,
// limit, permissions, audit event on disk, signed caller token) with a plain
// SELECT of the session, at 32 clients, on a Postgres that waits for the disk.
func BenchmarkAdmit(b *testing.B) {
	w := testkit.Prepare(b)
	tokens := manySessions(b, w)
	pool := w.Postgres.Pool(b, "auth", w.Database)
	access := pg.NewAccess(pool, pg.Options{Append: outbox.Append})
	b.Cleanup(access.Close)
	admitter, err := admit.New(admit.Options{
		Store: store.New(access, nil), Signer: w.Callers.Signer, Now: time.Now, Idle: 15 * time.Minute, PerMinute: 60,
	})
	require.NoError(b, err)
	b.Cleanup(admitter.Close)

	var next atomic.Int64
	pick := func() string { return tokens[int(next.Add(1))%len(tokens)] }
	// The baseline has no row-level security either: it reads as a superuser.
	source, err := w.Postgres.Source("admin")
	require.NoError(b, err)
	plain, err := pg.Open(b.Context(), w.Postgres.Config(w.Database, postgres.Admin), source)
	require.NoError(b, err)
	b.Cleanup(plain.Close)
	selects := clock(b, func(ctx context.Context) error {
		var user uuid.UUID
		var assurance int
		var lastUse, expires time.Time
		return plain.QueryRow(ctx, "SELECT user_id, assurance, last_use, expires FROM sessions WHERE token_hash = $1 AND ended IS NULL",
			token.Hash(pick())).Scan(&user, &assurance, &lastUse, &expires)
	})
	admits := clock(b, func(ctx context.Context) error {
		_, err := admitter.Admit(ctx, admit.Request{Token: pick(), Audience: accessv1.Service_SERVICE_RECORDS, Method: "m"})
		return err
	})
	auth := w.Replica() // with its relay, and gRPC over mTLS
	calls := clock(b, func(ctx context.Context) error {
		_, err := auth.Admit(ctx, &authv1.AdmitRequest{SessionToken: pick(), Audience: accessv1.Service_SERVICE_RECORDS, Method: "m"})
		return err
	})
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(selects, "selects/s")
	b.ReportMetric(admits, "admits/s")
	b.ReportMetric(calls, "rpc-admits/s")
	b.ReportMetric(admits/selects, "admit:select")
}

var benchPractice = uuid.MustParse("01900000-0000-7000-8000-000000000001")

// manySessions writes users with an open session each, and with as many hits as
// a busy user has, straight into the tables.
func manySessions(b *testing.B, w *testkit.World) []string {
	b.Helper()
	tokens := make([]string, benchUsers)
	hashes := make([][]byte, benchUsers)
	for i := range tokens {
		tokens[i] = token.New(token.Session)
		hashes[i] = token.Hash(tokens[i])
	}
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		for _, statement := range []string{
			`INSERT INTO practices (id, display_name, created, updated, created_by) VALUES ('` + benchPractice.String() + `', 'Bench', now(), now(), gen_random_uuid())`,
			`INSERT INTO users (id, practice_id, username, display_name, email_sealed, role, created, updated, created_by)
				SELECT gen_random_uuid(), '` + benchPractice.String() + `', 'user-' || i, 'User', '', 3, now(), now(), gen_random_uuid()
				FROM generate_series(1, ` + fmt.Sprint(benchUsers) + `) i`,
			`INSERT INTO activity (user_id, practice_id, hits)
				SELECT id, practice_id, array_fill(now() - interval '5 minutes', ARRAY[60]) FROM users`,
		} {
			_, err := conn.Exec(ctx, statement)
			require.NoError(b, err)
		}
		_, err := conn.Exec(ctx, `INSERT INTO sessions (id, user_id, practice_id, token_hash, assurance, created, last_use, expires, address, user_agent)
			SELECT gen_random_uuid(), u.id, u.practice_id, t.hash, 2, now(), now(), now() + interval '12 hours', '192.0.2.1', 'bench'
			FROM (SELECT id, practice_id, row_number() OVER () AS n FROM users) u
			JOIN unnest($1::bytea[]) WITH ORDINALITY AS t (hash, n) ON t.n = u.n`, hashes)
		require.NoError(b, err)
		_, err = conn.Exec(ctx, "VACUUM ANALYZE")
		require.NoError(b, err)
	})
	return tokens
}

// clock runs b.N operations on 32 clients and returns how many went through in a second.
func clock(b *testing.B, do func(ctx context.Context) error) float64 {
	b.Helper()
	var done atomic.Int64
	var work sync.WaitGroup
	start := time.Now()
	for range clients {
		work.Go(func() {
			for done.Add(1) <= int64(b.N) {
				if err := do(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return float64(b.N) / time.Since(start).Seconds()
}
