package app_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/auth/internal/admit"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
	"github.com/carekeep/carekeep/services/auth/internal/token"
	"github.com/carekeep/carekeep/services/auth/internal/usage"
)

const (
	clients    = 32
	benchUsers = 20_000
	// Every user here holds what it takes, so the use of it is noted.
	benchMethod = "/carekeep.auth.v1.AuthService/ListStaff"
)

// BenchmarkAdmit compares what Admit does for a request (session, idle time,
// limit, permissions, audit event on disk, use of the permission, signed caller token) with a plain
// SELECT of the session, at 32 clients, on a Postgres that waits for the disk.
func BenchmarkAdmit(b *testing.B) {
	w := testkit.Prepare(b)
	tokens := manySessions(b, w)
	pool := w.Postgres.Pool(b, "auth", w.Database)
	access := pg.NewAccess(pool, pg.Options{Append: outbox.NewCounter().Append})
	b.Cleanup(access.Close)
	kept := store.New(access, nil)
	uses := usage.New(kept, time.Now)
	admitter, err := admit.New(admit.Options{
		Store: kept, Signer: w.Callers.Signer, Now: time.Now, Idle: 15 * time.Minute, PerMinute: 60, Used: uses.Note,
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
	lookUp := func(ctx context.Context) (c caller.Caller, err error) {
		var lastUse, expires time.Time
		err = plain.QueryRow(ctx, "SELECT user_id, assurance, last_use, expires FROM sessions WHERE token_hash = $1 AND ended IS NULL",
			token.Hash(pick())).Scan(&c.User, &c.Assurance, &lastUse, &expires)
		return c, err
	}
	selects := clock(b, func(ctx context.Context) error {
		_, err := lookUp(ctx)
		return err
	})
	// The same work through a plain session table: it, too, has to say who calls, in a token that services can check.
	sessions := clock(b, func(ctx context.Context) error {
		c, err := lookUp(ctx)
		if err != nil {
			return err
		}
		c.Practice, c.Session, c.Username = benchPractice, c.User, "user"
		c.Role, c.Purpose, c.Audience = accessv1.RoleKind_ROLE_KIND_DOCTOR, accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Service_SERVICE_RECORDS
		_, err = w.Callers.Signer.Sign(c, time.Now())
		return err
	})
	from := session.Client{Address: "192.0.2.1"}
	admitOne := func(ctx context.Context) error {
		_, err := admitter.Admit(ctx, admit.Request{Token: pick(), Audience: accessv1.Service_SERVICE_RECORDS, Method: benchMethod, Client: from})
		return err
	}
	// Once around before it counts: the first change of a page after a checkpoint writes the whole
	// page to the log, which a server that runs for a while does not do for every request.
	for range max(1, benchUsers/b.N) {
		clock(b, admitOne)
	}
	admits := clock(b, admitOne)
	// What was used is written once a day for each user and permission: here, for all of them at once.
	start := time.Now()
	require.NoError(b, uses.Flush(b.Context()))
	flushed := time.Since(start)
	auth := w.Replica() // with its relay, and gRPC over mTLS
	calls := clock(b, func(ctx context.Context) error {
		_, err := auth.Admit(ctx, &authv1.AdmitRequest{
			SessionToken: pick(), Audience: accessv1.Service_SERVICE_RECORDS, Method: benchMethod, Client: &authv1.Client{Address: from.Address},
		})
		return err
	})
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(selects.perSecond, "selects/s")
	b.ReportMetric(sessions.perSecond, "plain-sessions/s")
	b.ReportMetric(admits.perSecond, "admits/s")
	b.ReportMetric(admits.p99, "admit-p99-ms")
	b.ReportMetric(float64(flushed.Milliseconds()), "flush-of-20000-uses-ms")
	b.ReportMetric(calls.perSecond, "rpc-admits/s")
	b.ReportMetric(calls.p99, "rpc-admit-p99-ms")
	b.ReportMetric(admits.perSecond/selects.perSecond, "admit:select")
	b.ReportMetric(admits.perSecond/sessions.perSecond, "admit:plain-session")
}

// BenchmarkSessionMemory says what 100,000 live sessions take: in the database, where they
// are, and in the process, which keeps none of them but the tokens of the last 20 seconds.
func BenchmarkSessionMemory(b *testing.B) {
	w := testkit.Prepare(b)
	const rounds = liveSessions / benchUsers
	pool := w.Postgres.Pool(b, "auth", w.Database)
	access := pg.NewAccess(pool, pg.Options{Append: outbox.NewCounter().Append})
	b.Cleanup(access.Close)
	admitter, err := admit.New(admit.Options{
		Store: store.New(access, nil), Signer: w.Callers.Signer, Now: time.Now, Idle: 15 * time.Minute, PerMinute: 60,
	})
	require.NoError(b, err)
	b.Cleanup(admitter.Close)
	tokens := manySessions(b, w)
	for range rounds - 1 {
		tokens = append(tokens, moreSessions(b, w)...)
	}
	before := heap()
	var next atomic.Int64
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			for i := next.Add(1); i <= int64(len(tokens)); i = next.Add(1) {
				_, err := admitter.Admit(b.Context(), admit.Request{Token: tokens[i-1], Audience: accessv1.Service_SERVICE_RECORDS, Method: "m"})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	grown := heap() - before
	var stored, count float64
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		require.NoError(b, conn.QueryRow(ctx, "SELECT pg_total_relation_size('sessions'), count(*) FROM sessions WHERE ended IS NULL").Scan(&stored, &count))
	})
	require.EqualValues(b, liveSessions, count)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(stored/count, "stored-B/session")
	b.ReportMetric(stored/(1<<20), "stored-MiB")
	b.ReportMetric(max(0, grown)/(1<<20), "process-MiB")
	runtime.KeepAlive(tokens)
}

// liveSessions is what the figure is about: five for each of the users here, more than any may have.
const liveSessions = 100_000

func heap() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapInuse)
}

var benchPractice = uuid.MustParse("01900000-0000-7000-8000-000000000001")

// manySessions writes users with an open session each, and with as many hits as
// a busy user has, straight into the tables.
func manySessions(b *testing.B, w *testkit.World) []string {
	b.Helper()
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
	})
	return moreSessions(b, w)
}

// moreSessions opens one session more for each user.
func moreSessions(b *testing.B, w *testkit.World) []string {
	b.Helper()
	tokens := make([]string, benchUsers)
	hashes := make([][]byte, benchUsers)
	for i := range tokens {
		tokens[i] = token.New(token.Session)
		hashes[i] = token.Hash(tokens[i])
	}
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, `INSERT INTO sessions
			(id, user_id, practice_id, token_hash, assurance, methods, networks, created, last_use, expires, address, user_agent)
			SELECT gen_random_uuid(), u.id, u.practice_id, t.hash, 2, 3, '{192.0.2.0/24}', now(), now(), now() + interval '12 hours', '192.0.2.1', 'bench'
			FROM (SELECT id, practice_id, row_number() OVER () AS n FROM users) u
			JOIN unnest($1::bytea[]) WITH ORDINALITY AS t (hash, n) ON t.n = u.n`, hashes)
		require.NoError(b, err)
		_, err = conn.Exec(ctx, "VACUUM ANALYZE")
		require.NoError(b, err)
	})
	return tokens
}

// measured is what the clients saw; p99 in milliseconds.
type measured struct{ perSecond, p99 float64 }

// clock runs b.N operations on 32 clients.
func clock(b *testing.B, do func(ctx context.Context) error) measured {
	b.Helper()
	var done atomic.Int64
	var work sync.WaitGroup
	times := make([][]time.Duration, clients)
	start := time.Now()
	for client := range clients {
		work.Go(func() {
			for done.Add(1) <= int64(b.N) {
				begun := time.Now()
				if err := do(b.Context()); err != nil {
					b.Error(err)
					return
				}
				times[client] = append(times[client], time.Since(begun))
			}
		})
	}
	work.Wait()
	took := time.Since(start)
	all := slices.Concat(times...)
	slices.Sort(all)
	if len(all) == 0 {
		b.Fatal("nothing was measured")
	}
	return measured{float64(b.N) / took.Seconds(), float64(all[len(all)*99/100]) / float64(time.Millisecond)}
}
