// Package purge closes accounts that nobody used for three calendar months and that
// own nothing, and removes what says who they belonged to (claim DH-50). Id and
// sign-in name stay reserved for good (claim DH-18). It does not touch records.
package purge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Owners says which of a practice's users own records. Where it cannot, nobody is purged.
type Owners interface {
	Owners(ctx context.Context, practice uuid.UUID, users []uuid.UUID) ([]uuid.UUID, error)
}

// page is how many accounts are looked at in one go; records takes 200.
const page = 100

// Purger purges accounts.
type Purger struct {
	Store  *store.Store
	Owners Owners
}

// Why an account was purged or warned, as events say.
const (
	reasonPurged = "ACCOUNT_PURGED"
	reasonWarned = "ACCOUNT_PURGE_WARNED"
)

// Errors that leave one account as it is.
var (
	errLast = errs.New(errs.KindPrecondition, "LAST_ADMINISTRATOR", "the last enabled administrator stays")
	errUsed = errs.New(errs.KindConflict, "ACCOUNT_USED", "the account was used meanwhile")
)

// Round warns and purges whoever is due and says how many were purged. An account that
// cannot be judged now is left for the next round.
func (p *Purger) Round(ctx context.Context) (int, error) {
	ctx = evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_AUTH, "jobs/PurgeAccounts", accessv1.Action_ACTION_ACCOUNT_CHANGE))
	purged := 0
	var failed []error
	for after := uuid.Nil; ; {
		tx := p.Store.In(store.Platform)
		found := tx.IdleAccounts(after, page)
		if err := tx.Read(ctx); err != nil {
			return purged, err
		}
		rows := found.All()
		if len(rows) == 0 {
			return purged, errors.Join(failed...)
		}
		after = rows[len(rows)-1].User
		for practice, idle := range byPractice(rows) {
			n, err := p.practice(ctx, practice, idle)
			purged += n
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
}

func byPractice(rows []store.Idle) map[uuid.UUID][]store.Idle {
	groups := map[uuid.UUID][]store.Idle{}
	for _, row := range rows {
		groups[row.Practice] = append(groups[row.Practice], row)
	}
	return groups
}

func (p *Purger) practice(ctx context.Context, practice uuid.UUID, rows []store.Idle) (int, error) {
	users := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		users[i] = row.User
	}
	var owners []uuid.UUID
	if practice != store.Platform { // nobody there has patients
		var err error
		if owners, err = p.Owners.Owners(ctx, practice, users); err != nil {
			return 0, fmt.Errorf("purge: who owns records is not known: %w", err)
		}
	}
	purged := 0
	var failed []error
	for _, row := range rows {
		if slices.Contains(owners, row.User) {
			continue
		}
		act := p.warn
		if row.Due {
			act = p.purge
		}
		err := act(ctx, row)
		switch reason := errs.ReasonOf(err); {
		case err == nil && row.Due:
			purged++
		case err != nil && reason != errLast.Reason() && reason != errUsed.Reason():
			failed = append(failed, err)
		}
	}
	return purged, errors.Join(failed...)
}

func (p *Purger) warn(ctx context.Context, row store.Idle) error {
	tx := p.Store.In(row.Practice)
	tx.Warned(row.User)
	tx.Tell(row.User, string(notice.AccountWillBeGone), "", "")
	return tx.Do(ctx, func() ([]*auditv1.Event, error) { return []*auditv1.Event{event(ctx, row, reasonWarned)}, nil })
}

func (p *Purger) purge(ctx context.Context, row store.Idle) error {
	tx := p.Store.In(row.Practice)
	tx.LockRoles()
	tx.LockUser(row.User)
	before := tx.User(row.User)
	done := tx.PurgeAccount(row.User, row.Seen)
	administrators := tx.Administrators(accessv1.RoleKind_ROLE_KIND_SUPERADMIN, accessv1.RoleKind_ROLE_KIND_ADMIN)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		user, _ := before.One()
		if ok, _ := done.One(); !ok {
			return nil, errUsed
		}
		administers := user.Kind == accessv1.RoleKind_ROLE_KIND_SUPERADMIN || user.Kind == accessv1.RoleKind_ROLE_KIND_ADMIN
		if left, _ := administrators.One(); administers && !user.Disabled && left == 0 {
			return nil, errLast
		}
		return []*auditv1.Event{event(ctx, row, reasonPurged)}, nil
	})
}

func event(ctx context.Context, row store.Idle, reason string) *auditv1.Event {
	return evidence.From(ctx).Event(evidence.User(row.User, row.Username), evidence.Practice(row.Practice),
		evidence.Resource("users/"+row.User.String(), 0), evidence.Reason(reason))
}

// Records asks the records service.
type Records struct {
	client recordsv1.RecordsServiceClient
}

// NewRecords is over a connection to the records service.
func NewRecords(conn grpc.ClientConnInterface) *Records {
	return &Records{client: recordsv1.NewRecordsServiceClient(conn)}
}

// Owners implements Owners.
func (r *Records) Owners(ctx context.Context, practice uuid.UUID, users []uuid.UUID) ([]uuid.UUID, error) {
	request := &recordsv1.ListOwnersRequest{Practice: "practices/" + practice.String()}
	for _, user := range users {
		request.Users = append(request.Users, "users/"+user.String())
	}
	response, err := r.client.ListOwners(ctx, request)
	if err != nil {
		return nil, err
	}
	// Whom the answer names stays, so one that is not understood purges nobody.
	owners := make([]uuid.UUID, len(response.GetUsers()))
	for i, name := range response.GetUsers() {
		if len(name) < len("users/") {
			return nil, errors.New("purge: records answered with a name that is none")
		}
		if owners[i], err = uuid.Parse(name[len("users/"):]); err != nil {
			return nil, fmt.Errorf("purge: %w", err)
		}
	}
	return owners, nil
}
