// Package limit bounds attempts at secrets: sign-ins for each account and each
// address, one-time codes and password checks for each user. Windows slide and
// are exact across replicas because they are rows in the database; their keys
// are HMACs, so that the table names nobody. API requests are limited in Admit.
package limit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Window is the time over which attempts are counted (claim DH-32).
const Window = time.Minute

const (
	keyName  = "attempts"
	keyBytes = 32
)

// Limiter counts attempts.
type Limiter struct {
	store *store.Store
	key   []byte
	max   int
}

// New takes the installation's key, making it where there is none, and a limit per Window.
func New(ctx context.Context, s *store.Store, sealer *seal.Sealer, perMinute int) (*Limiter, error) {
	key, err := InstallationKey(ctx, s, sealer, keyName)
	if err != nil {
		return nil, fmt.Errorf("limit: %w", err)
	}
	return &Limiter{store: s, key: key, max: perMinute}, nil
}

// InstallationKey is the installation's key of 32 bytes under a name, made where there
// is none. Replicas that start together agree on one key: the first insert stays.
func InstallationKey(ctx context.Context, s *store.Store, sealer *seal.Sealer, name string) ([]byte, error) {
	read := s.In(store.Platform)
	stored := read.InstallationKey(name, "")
	if err := read.Read(ctx); err != nil {
		return nil, err
	}
	if !stored.Found() {
		fresh := make([]byte, keyBytes)
		_, _ = rand.Read(fresh)
		wrapped, err := sealer.Seal(ctx, seal.Key, uuid.Nil, fresh)
		if err != nil {
			return nil, err
		}
		write := s.In(store.Platform)
		stored = write.InstallationKey(name, wrapped)
		if err := write.Read(ctx); err != nil {
			return nil, err
		}
	}
	wrapped, _ := stored.One()
	return sealer.Open(ctx, seal.Key, uuid.Nil, wrapped)
}

// SignIn counts a sign-in against the name, whether it exists or not, and the
// address, and looks the name up in the same round trip. The account comes with a refusal too, so that the
// event of the refusal names whose account it was about.
func (l *Limiter) SignIn(ctx context.Context, username, address string) (store.SignIn, bool, error) {
	return l.lookUp(ctx, username, address, l.hash("account", username))
}

// Recovery is SignIn for what a user does about a row of failures, and so waits for no delay.
func (l *Limiter) Recovery(ctx context.Context, username, address string) (store.SignIn, bool, error) {
	return l.lookUp(ctx, username, address, nil)
}

func (l *Limiter) lookUp(ctx context.Context, username, address string, delayed []byte) (store.SignIn, bool, error) {
	tx := l.store.In(store.Platform)
	wait := tx.Attempt([][]byte{l.hash("account", username), l.hash("address", network.Client(address))}, l.max, Window)
	found, restrained := tx.SignInOf(username), tx.Restrained(delayed, network.Client(address))
	if err := tx.Read(ctx); err != nil {
		return store.SignIn{}, false, err
	}
	account, ok := found.One()
	if err := held(restrained); err != nil {
		return account, ok, err
	}
	return account, ok, refused(wait, "SIGN_IN_LIMITED", "too many sign-ins")
}

// Address counts an attempt against the address alone, and refuses one that is blocked.
func (l *Limiter) Address(ctx context.Context, address string) error {
	return l.address(ctx, address, "address", l.max, "SIGN_IN_LIMITED", "too many sign-ins")
}

func (l *Limiter) address(ctx context.Context, address, kind string, most int, reason, public string) error {
	tx := l.store.In(store.Platform)
	wait := tx.Attempt([][]byte{l.hash(kind, network.Client(address))}, most, Window)
	restrained := tx.Restrained(nil, network.Client(address))
	if err := tx.Read(ctx); err != nil {
		return err
	}
	if err := held(restrained); err != nil {
		return err
	}
	return refused(wait, reason, public)
}

// ceremonies are how many passkey sign-ins an address may begin for each one that
// it may finish: pages begin one whenever they are shown.
const ceremonies = 6

// Ceremony counts a passkey sign-in that is begun against the address. It proves
// nothing yet, so it is not counted as a sign-in; it only takes up room.
func (l *Limiter) Ceremony(ctx context.Context, address string) error {
	return l.address(ctx, address, "ceremony", l.max*ceremonies, "SIGN_IN_LIMITED", "too many sign-ins")
}

// Failed adds to a transaction that a sign-in under this name failed; uuid.Nil where
// there is no such user. The hundredth in a row closes the account and ends its sessions.
func (l *Limiter) Failed(tx *store.Tx, username string, user uuid.UUID, address string) *store.Rows[store.Failures] {
	return tx.Failed(l.hash("account", username), user, address)
}

// Succeeded adds to a transaction that the user of this name proved who they are with all that is asked of them.
func (l *Limiter) Succeeded(tx *store.Tx, username string) { tx.Succeeded(l.hash("account", username)) }

// What speaks against an address, in points. It takes a score of 20 within ten minutes to be blocked.
const (
	PointsFailure = 1
	PointsUnknown = 2
	PointsProbe   = 5

	threshold = 20
)

// Blame adds to a transaction what speaks against an address. The row is the end of the block that follows, or nil.
func (l *Limiter) Blame(tx *store.Tx, address string, points int, reason string) *store.Rows[*time.Time] {
	client := network.Client(address)
	if client == "" {
		return &store.Rows[*time.Time]{}
	}
	return tx.Blame(client, points, threshold, reason)
}

func held(restrained *store.Rows[store.Restraint]) error {
	r, ok := restrained.One()
	if !ok {
		return nil
	}
	public := "too much went wrong from this address; wait before you try again"
	if r.Reason == "SIGN_IN_DELAYED" {
		public = "too many sign-ins failed; wait before you try again"
	}
	return errs.New(errs.KindLimited, r.Reason, public).WithRetry(max(r.Wait, time.Millisecond))
}

// Secret counts an attempt of a signed-in user at a code or the current password.
func (l *Limiter) Secret(ctx context.Context, user uuid.UUID) error {
	return l.within(ctx, l.max, Window, "FACTOR_LIMITED", "too many attempts", l.hash("secret", user.String()))
}

// Codes that a user may have sent within SendWindow, whatever the limit of sign-ins.
const (
	SendMax    = 3
	SendWindow = 10 * time.Minute
)

// Sending counts a one-time code that is sent to the user.
func (l *Limiter) Sending(ctx context.Context, user uuid.UUID) error {
	return l.within(ctx, SendMax, SendWindow, "CODES_LIMITED", "too many codes were sent", l.hash("sending", user.String()))
}

// pollMax lets a few browsers behind one address ask every two seconds.
const pollMax = 150

// Poll counts a question about a sign-in that waits against the address, and refuses one that is blocked.
func (l *Limiter) Poll(ctx context.Context, address string) error {
	return l.address(ctx, address, "poll", pollMax, "POLLS_LIMITED", "too many questions")
}

func (l *Limiter) within(ctx context.Context, most int, window time.Duration, reason, public string, key []byte) error {
	tx := l.store.In(store.Platform)
	wait := tx.Attempt([][]byte{key}, most, window)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	return refused(wait, reason, public)
}

func refused(wait *store.Rows[*time.Duration], reason, public string) error {
	if pause, _ := wait.One(); pause != nil {
		return errs.New(errs.KindLimited, reason, public+"; wait before you try again").WithRetry(max(*pause, time.Millisecond))
	}
	return nil
}

func (l *Limiter) hash(kind, value string) []byte {
	mac := hmac.New(sha256.New, l.key)
	mac.Write([]byte{byte(len(kind))})
	mac.Write([]byte(kind))
	mac.Write([]byte(value))
	return mac.Sum(nil)
}
