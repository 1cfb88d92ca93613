package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// Twenty transactions on connections of their own, with nothing before them that
// would put them in a row: whenever one looks, four sessions are open at most.
func TestDH28_TwentyOpenAtOnceWithoutAnythingInBetween(t *testing.T) {
	t.Parallel()
	w := testkit.Prepare(t)
	config := w.Postgres.Config(w.Database, "auth_app")
	config.MaxConnections = 20
	source, err := w.Postgres.Source("auth")
	require.NoError(t, err)
	pool, err := pg.Open(t.Context(), config, source)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	access := pg.NewAccess(pool, pg.Options{Append: outbox.NewCounter().Append})
	t.Cleanup(access.Close)
	db := store.New(access, nil)
	sessions := session.New(db, store.Lifetimes{Idle: 15 * time.Minute, Absolute: 12 * time.Hour, Max: 4}, &device.Tokens{}, &limit.Limiter{})

	user := uuid.Must(uuid.NewV7())
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, `INSERT INTO users (id, practice_id, username, display_name, email_sealed, role, created, updated, created_by)
			VALUES ($1, $2, 'root', 'Root', '', 1, now(), now(), $1)`, user, uuid.Nil)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "INSERT INTO activity (user_id, practice_id) VALUES ($1, $2)", user, uuid.Nil)
		require.NoError(t, err)
	})
	for range 10 {
		var race sync.WaitGroup
		for range 20 {
			race.Go(func() {
				tx := db.In(store.Platform)
				opening := sessions.Open(tx, session.Subject{User: user, Username: "root"}, method.Password, session.Client{})
				live := tx.Sessions(user, 15*time.Minute)
				err := tx.Do(context.Background(), func() ([]*auditv1.Event, error) {
					if n := len(live.All()); n > 4 {
						t.Errorf("%d sessions are open", n)
					}
					return nil, nil
				})
				if _, ok := opening.Result(); err != nil || !ok {
					t.Error(err, ok)
				}
			})
		}
		race.Wait()
	}
	tx := db.In(store.Platform)
	live := tx.Sessions(user, 15*time.Minute)
	require.NoError(t, tx.Read(t.Context()))
	require.Len(t, live.All(), 4)
}
