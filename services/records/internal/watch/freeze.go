package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// freezeTime bounds one call of auth.
	freezeTime = 5 * time.Second
	// retryEvery is how often the job tries what is left.
	retryEvery = 5 * time.Second
	atOnce     = 100
)

// Auth freezes accounts through auth.
type Auth struct{ Conn grpc.ClientConnInterface }

// Freeze implements Freezer. A user whom auth does not have needs none.
func (a Auth) Freeze(ctx context.Context, practice, user uuid.UUID, reports []uuid.UUID) error {
	r := &authv1.FreezeUserRequest{User: "users/" + user.String(), Practice: "practices/" + practice.String()}
	for _, id := range reports {
		r.Reports = append(r.Reports, id.String())
	}
	_, err := authv1.NewGuardServiceClient(a.Conn).FreezeUser(ctx, r)
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

// errUnnoted says that an account is frozen and that this could not be noted.
var errUnnoted = errors.New("a freeze was carried out and could not be noted")

// freeze has one account frozen for what has committed about it, and notes that. Where the note fails the job
// does both again, and auth, which knows the reports, nothing. It tells whether any of the given reports has committed.
func (w *Watch) freeze(ctx context.Context, f store.Freeze, ids []uuid.UUID) (bool, error) {
	var found store.Reports
	err := w.access.Do(ctx, pg.Unit{Practice: f.Practice, Ended: true, Queue: func(b *pgx.Batch) {
		store.ReadReports(b, f, ids, atOnce, &found)
	}})
	if err != nil {
		return false, err
	}
	stored := found.Stored > 0
	if stored {
		w.refused.Set(f, struct{}{})
	}
	if len(found.Due) == 0 {
		return stored, nil
	}
	if err := w.freezer.Freeze(ctx, f.Practice, f.User, found.Due); err != nil {
		return stored, err
	}
	err = w.access.Do(ctx, pg.Unit{Practice: f.Practice, Ended: true, Queue: func(b *pgx.Batch) { store.EndFreeze(b, f, found.Due) }})
	if err != nil {
		return stored, fmt.Errorf("%w: %w", errUnnoted, err)
	}
	return stored, nil
}

func (w *Watch) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Run tries what could not be frozen again and again until ctx ends, also after a restart.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		if err := w.retry(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "accounts wait to be frozen", telemetry.KeyError, err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.poke:
		}
	}
}

func (w *Watch) retry(ctx context.Context) error {
	var due []store.Freeze
	err := w.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.DueFreezes(b, atOnce, &due) }})
	var failed error
	for _, f := range due {
		one, cancel := context.WithTimeout(ctx, freezeTime)
		if _, refusal := w.freeze(one, f, nil); refusal != nil {
			failed = refusal
		}
		cancel()
	}
	if err == nil {
		err = failed
	}
	return err
}
