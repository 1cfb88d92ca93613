package app_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// BenchmarkSignIn compares whole sign-ins over gRPC (limits, hash, session, device,
// audit event on disk) with bare argon2id of the same parameters. The two take turns, so
// that what else the machine does meets both.
func BenchmarkSignIn(b *testing.B) {
	const users, turn = 200, 64
	w := testkit.New(b, func(s *app.Settings) { s.Limits.SignInPerMinute = 1_000_000 })
	hasher, err := password.NewHasher(w.Settings.Argon2id, runtime.GOMAXPROCS(0), 0)
	require.NoError(b, err)
	hash, err := hasher.Hash(b.Context(), testkit.Password)
	require.NoError(b, err)
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		for _, statement := range []string{
			`INSERT INTO practices (id, display_name, created, updated, created_by) VALUES ('` + benchPractice.String() + `', 'Bench', now(), now(), gen_random_uuid())`,
			`INSERT INTO users (id, practice_id, username, display_name, email_sealed, role, created, updated, created_by)
				SELECT gen_random_uuid(), '` + benchPractice.String() + `', 'user-' || i, 'User', '', 3, now(), now(), gen_random_uuid()
				FROM generate_series(1, ` + fmt.Sprint(users) + `) i`,
			`INSERT INTO activity (user_id, practice_id) SELECT id, practice_id FROM users`,
			`INSERT INTO credentials (user_id, practice_id, password_hash) SELECT id, practice_id, '` + hash + `' FROM users`,
		} {
			_, err := conn.Exec(ctx, statement)
			require.NoError(b, err)
		}
	})
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	p := w.Settings.Argon2id
	bare := func(int64) error {
		argon2.IDKey([]byte(testkit.Password), salt, p.Passes, p.MemoryKiB, p.Parallelism, 32)
		return nil
	}
	whole := func(i int64) error {
		_, err := w.Auth.SignIn(w.T.Context(), &authv1.SignInRequest{
			Username: fmt.Sprintf("user-%d", i%users+1), Password: testkit.Password, Client: &authv1.Client{Address: "192.0.2.1", UserAgent: "bench"},
		})
		return err
	}
	var hashes, signIns time.Duration
	var n int64
	for b.Loop() {
		hashes += together(b, bare, runtime.GOMAXPROCS(0), n, turn)
		signIns += together(b, whole, clients, n, turn)
		n += turn
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/hashes.Seconds(), "argon2id/s")
	b.ReportMetric(float64(n)/signIns.Seconds(), "sign-ins/s")
	b.ReportMetric(hashes.Seconds()/signIns.Seconds(), "sign-in:argon2id")
}

// together runs operations from one number on. Hashes are fastest on as many goroutines as
// there are processors; sign-ins come from 32 clients, as in BenchmarkAdmit.
func together(b *testing.B, do func(int64) error, workers int, from, count int64) time.Duration {
	b.Helper()
	var next atomic.Int64
	var work sync.WaitGroup
	begun := time.Now()
	for range workers {
		work.Go(func() {
			for i := next.Add(1); i <= count; i = next.Add(1) {
				if err := do(from + i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	return time.Since(begun)
}
