// Package usage notes which permissions users use, so that those that nobody
// needs can be taken back (claim DH-09). Noting costs a look into a map: each
// permission of a user goes to the database once a day.
package usage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"

	// Their methods are admitted here, so their rules must be known here.
	_ "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

const (
	every = time.Minute
	// remembered bounds the memory for uses; beyond it the day starts anew, at the cost of a few rows written twice.
	remembered = 500_000
	// batch is how many uses one statement writes.
	batch = 5_000
	// days without use after which a permission counts as unused.
	days = 90
)

// Uses notes and reports.
type Uses struct {
	store *store.Store
	now   func() time.Time

	mu      sync.Mutex
	rules   map[string]accessv1.Permission
	seen    map[store.Use]struct{}
	pending []store.Use
}

// New makes a Uses. Run writes what was noted.
func New(s *store.Store, now func() time.Time) *Uses {
	return &Uses{store: s, now: now, rules: map[string]accessv1.Permission{}, seen: map[store.Use]struct{}{}}
}

// Note notes that a caller who was admitted calls the method, if they hold what it takes.
func (u *Uses) Note(c *caller.Caller, method string) {
	day := u.now().UTC().Truncate(24 * time.Hour)
	u.mu.Lock()
	defer u.mu.Unlock()
	permission, known := u.rules[method]
	if !known {
		rule, ok := access.RuleOf(method)
		if !ok {
			return // not remembered: names come from outside, and there is no end of them
		}
		permission = rule.GetPermission()
		u.rules[method] = permission
	}
	use := store.Use{User: c.User, Permission: permission, Day: day}
	if _, noted := u.seen[use]; noted || !c.Permissions.Has(permission) {
		return
	}
	if len(u.seen) >= remembered {
		clear(u.seen)
	}
	u.seen[use] = struct{}{}
	u.pending = append(u.pending, use)
}

// Flush writes what was noted since the last time.
func (u *Uses) Flush(ctx context.Context) error {
	for {
		u.mu.Lock()
		n := min(len(u.pending), batch)
		uses := u.pending[:n:n]
		u.pending = u.pending[n:]
		u.mu.Unlock()
		if n == 0 {
			return nil
		}
		tx := u.store.In(store.Platform)
		tx.NoteUse(uses)
		if err := tx.Read(ctx); err != nil {
			u.mu.Lock()
			if len(u.pending) < remembered {
				u.pending = append(u.pending, uses...)
			}
			u.mu.Unlock()
			return err
		}
	}
}

// Run flushes every minute until ctx ends, and then once more.
func (u *Uses) Run(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if err := u.Flush(last); err != nil {
			log.WarnContext(ctx, "the use of permissions was not noted; it is tried again", telemetry.KeyError, err.Error())
		}
		cancel()
	}
}

// Report are the permissions that a user holds, by whether they used them.
type Report struct{ Used, Unused []accessv1.Permission }

// Report tells what a user of the caller's practice has not used for 90 days.
func (u *Uses) Report(ctx context.Context, c *caller.Caller, target uuid.UUID) (Report, error) {
	tx := u.store.In(c.Practice)
	found, mask, used := tx.User(target), tx.Masks(target), tx.Used(target, days)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, user.ErrNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(user.Name(target)+"/permissionUse", 0))}, nil
	})
	if err != nil {
		return Report{}, err
	}
	row, _ := found.One()
	held := roles.Of(row.Role())
	if custom, ok := mask.One(); ok {
		if held, err = access.FromBytes(custom.Permissions); err != nil {
			return Report{}, err
		}
	}
	// What every role holds cannot be taken back, so it is no finding.
	return Report{Used: used.All(), Unused: held.Without(access.NewPermissions(used.All()...)).Without(roles.Floor()).List()}, nil
}
