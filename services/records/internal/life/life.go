// Package life ends what the other packages keep: legal holds, retention, purge,
// erasure and a practice's exit. What may be destroyed is decided by the database
// (erase_patient); this package sees to it that two persons decide, that a certificate is
// signed before anything goes, and that event, certificate and destruction commit together.
package life

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Notary signs certificates and knows the keys that verify them.
type Notary interface {
	Signer(ctx context.Context) (note.Signer, error)
	Verifiers(ctx context.Context) (note.Verifiers, error)
	File(ctx context.Context) (string, error)
}

// Life runs the operations. Safe for concurrent use.
type Life struct {
	access *pg.Access
	keys   *keys.Keys
	vault  Vault
	notary Notary
	closed *Closed
	now    func() time.Time
}

// New makes a Life; now is the server's clock. closed is the guard of the same access.
func New(access *pg.Access, k *keys.Keys, v Vault, n Notary, closed *Closed, now func() time.Time) *Life {
	return &Life{access: access, keys: k, vault: v, notary: n, closed: closed, now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }}
}

var (
	errNotFound = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such resource, or it is not yours to see.")
	errHeld     = errs.New(errs.KindPrecondition, "LEGAL_HOLD", "A legal hold stands on this patient or the whole practice: nothing is destroyed until another person than placed it releases it.")
	errSame     = errs.New(errs.KindDenied, "SECOND_PERSON_REQUIRED", "This takes another person than the one who began it.")
	errToken    = errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID", "The page token does not belong to this list: send the next_page_token of its last page.").
			WithField("page_token", "is not a token of this list")
	errChanged = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The patient was changed at the same time: try again.")
)

// view is the caller and what the caller sees, but not through a broken glass: what is
// decided here lasts.
func view(ctx context.Context) (uuid.UUID, store.Viewer, error) {
	c, v, err := chart.View(ctx)
	switch {
	case err != nil:
		return uuid.Nil, v, err
	case c.Practice == uuid.Nil:
		return uuid.Nil, v, errs.New(errs.KindPrecondition, "NO_PRACTICE", "This needs a user who belongs to a practice.")
	}
	// Nothing here shows a chart: who is watched is held, erased and exported like everybody else.
	v.User, v.Closed = uuid.Nil, nil
	return c.User, v, nil
}

// refused turns what the database says about a destruction into what a client sees.
func refused(err error) error {
	var sql *pgconn.PgError
	if !errors.As(err, &sql) {
		return err
	}
	switch sql.Code {
	case store.StateHeld:
		return errHeld
	case store.StateNoOne:
		return errNotFound
	case store.StateRetained:
		return errs.New(errs.KindPrecondition, "RETENTION_RUNS",
			"The record must be kept until "+sql.Detail+" (UTC): refuse the erasure under an exemption of GDPR Article 17(3), such as (b), a legal obligation.")
	}
	return err
}

// Page is a request for a part of a list.
type Page struct {
	Size  int // 0 means 100
	Token string
}

const defaultPage = 100

func (p Page) size() int {
	if p.Size == 0 {
		return defaultPage
	}
	return p.Size
}

// before is the id that the page begins below: UUIDv7 sort by time. A token grants
// nothing: every page is checked as the first one is.
func (p Page) before() (uuid.UUID, error) {
	if p.Token == "" {
		return uuid.Max, nil
	}
	raw, err := hex.DecodeString(p.Token)
	if err != nil || len(raw) != len(uuid.Nil) {
		return uuid.Nil, errToken
	}
	return uuid.UUID(raw), nil
}

// cut takes the rows beyond the page off, and makes the token that leads to them.
func cut[T any](rows []T, p Page, id func(T) uuid.UUID) ([]T, string) {
	if len(rows) <= p.size() {
		return rows, ""
	}
	rows = rows[:p.size()]
	last := id(rows[len(rows)-1])
	return rows, hex.EncodeToString(last[:])
}
