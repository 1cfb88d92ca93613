// Package session opens, raises, lists and ends sessions. A session is at most
// idle for 15 minutes and 12 hours old, a user has at most four (claims DH-28,
// DH-29), and each change of assurance makes a new token (claim DC-12). Whether
// a request may pass is decided by package admit.
package session

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

// Why sessions end, as stored.
const (
	ReasonSignedOut = "SIGNED_OUT"
	ReasonEnded     = "ENDED"
	ReasonPassword  = "PASSWORD_CHANGED"
	ReasonDisabled  = "USER_DISABLED"
	ReasonFactor    = "FACTOR_CHANGED"
)

// Sessions works on sessions.
type Sessions struct {
	store   *store.Store
	life    store.Lifetimes
	devices *device.Tokens
	limiter *limit.Limiter
}

// New makes a Sessions.
func New(s *store.Store, life store.Lifetimes, devices *device.Tokens, limiter *limit.Limiter) *Sessions {
	return &Sessions{store: s, life: life, devices: devices, limiter: limiter}
}

// Subject is whose session is opened.
type Subject struct {
	User        uuid.UUID
	Username    string
	Factors     method.Set // the second factors that they have
	AcceptEmail bool       // their practice counts a code by mail as a second factor
}

// Of is the subject of an account.
func Of(account store.SignIn) Subject {
	return Subject{User: account.User, Username: account.Username, Factors: account.Factors, AcceptEmail: account.AcceptEmail}
}

// Client is where a session is used from.
type Client struct {
	Address        string
	UserAgent      string
	AcceptLanguage string
	// DeviceToken is the device's token as it came along: nobody has checked it.
	DeviceToken string
	// Cookies: session and device travel as cookies, and the session is bound to the device's.
	Cookies bool
}

// Opened is a session as its user gets it. Token is shown this once.
type Opened struct {
	ID        uuid.UUID
	User      uuid.UUID
	Token     string
	Assurance accessv1.Assurance
	IdleEnd   time.Time
	End       time.Time
	// DeviceToken names the device from now on; empty where the client's own token does.
	DeviceToken string
}

// Opening is a session that the transaction will have opened.
type Opening struct {
	session Opened
	times   *store.Rows[store.Times]
	evicted *store.Rows[uuid.UUID]
	arrival *store.Rows[store.Arrival]
	moved   *store.Rows[string]
	devices *device.Tokens
	idle    time.Duration
}

// Open adds to a transaction in the user's practice what opens a session for
// somebody who proved themself with these methods, evicting the oldest session
// where there would be too many. Every way of signing in ends here. A row of
// failures ends with the second factor, if there is one.
func (s *Sessions) Open(tx *store.Tx, who Subject, methods method.Set, client Client) *Opening {
	user, level := who.User, methods.Level(who.AcceptEmail)
	o := &Opening{
		session: Opened{ID: uuid.Must(uuid.NewV7()), User: user, Token: token.New(token.Session), Assurance: level},
		moved:   &store.Rows[string]{}, devices: s.devices, idle: s.life.Idle,
	}
	tx.LockUser(user)
	if level >= accessv1.Assurance_ASSURANCE_AAL2 || who.Factors == 0 {
		s.limiter.Succeeded(tx, who.Username)
	}
	var from store.Arriving
	from, o.arrival = s.arrive(tx, user, client)
	o.times, o.evicted = tx.OpenSession(store.NewSession{
		ID: o.session.ID, User: user, TokenHash: token.Hash(o.session.Token), Assurance: level,
		Methods: methods, Full: strong(methods), Address: client.Address, UserAgent: client.UserAgent,
		Network: from.Network, Wide: from.Wide, Claimed: from.Claimed, Fresh: from.Fresh, Bound: client.Cookies,
	}, s.life)
	return o
}

// Raise adds to a transaction what a further proof gives the caller's session: the
// methods, the level that follows, the network that it came from, and a new
// token; the old token dies with the commit. Proof is what Tx.Proof read before.
func (s *Sessions) Raise(tx *store.Tx, c *caller.Caller, proof store.Proof, add method.Set) *Opening {
	methods := proof.Methods | add
	level := methods.Level(proof.AcceptEmail)
	o := &Opening{
		session: Opened{ID: c.Session, User: c.User, Token: token.New(token.Session), Assurance: level},
		idle:    s.life.Idle, evicted: &store.Rows[uuid.UUID]{}, arrival: &store.Rows[store.Arrival]{},
	}
	tx.LockUser(c.User)
	if level >= accessv1.Assurance_ASSURANCE_AAL2 {
		s.limiter.Succeeded(tx, c.Username)
	}
	o.times = tx.RaiseSession(store.Raising{
		Session: c.Session, User: c.User, TokenHash: token.Hash(o.session.Token), Seen: proof.Methods, Methods: methods,
		Assurance: level, Full: full(proof.Methods, add), Network: network.Of(c.Address), Wide: network.Wide(c.Address),
	}, s.life.Idle)
	o.moved = tx.Move(c.User, network.Of(c.Address), c.Address)
	return o
}

// full reports whether the further proof makes a full authentication (ASVS 7.5.1): it completes
// the first one, or it is two factors by itself. One factor more in a session that
// had two is none: somebody else may have taken the session over.
func full(before, add method.Set) bool {
	return !strong(before) && strong(before|add) || strong(add)
}

// strong reports whether methods are two factors that may change factors. A code by mail
// counts for none, whatever the practice accepts: the notice of the change goes to the same mailbox. Nor
// does the approval of a phone: whoever was tricked into one gives a session away, not the account.
func strong(methods method.Set) bool {
	return (methods &^ method.QR).Level(false) >= accessv1.Assurance_ASSURANCE_AAL2
}

// FreshFor is how long a full authentication counts for changes of factors (ASVS 7.5.1).
const FreshFor = 5 * time.Minute

var errStale = errs.New(errs.KindDenied, "REAUTHENTICATE",
	"prove who you are again, with two factors; that counts for five minutes")

// Fresh refuses a caller who has not proved who they are with two factors within
// the last five minutes. Times are whole seconds.
func Fresh(c *caller.Caller, now time.Time) error {
	if c.Authenticated.IsZero() || now.Sub(c.Authenticated) > FreshFor {
		return errStale
	}
	return nil
}

// Result is the session once the transaction was sent; false where it is no longer live.
func (o *Opening) Result() (Opened, bool) {
	times, ok := o.times.One()
	if !ok {
		return Opened{}, false
	}
	result := o.session
	result.IdleEnd, result.End = times.LastUse.Add(o.idle), times.Expires
	if result.End.Before(result.IdleEnd) {
		result.IdleEnd = result.End
	}
	if arrival, _ := o.arrival.One(); arrival.Fresh {
		result.DeviceToken = o.devices.Sign(arrival.Device)
	}
	return result, true
}

// Name is the resource name of a session.
func Name(id uuid.UUID) string { return "sessions/" + id.String() }

// ErrOver answers a caller whose session ended while the request was under way.
var ErrOver = errs.New(errs.KindUnauthenticated, "SESSION_OVER", "the session is over; sign in again")

// SignOut ends the caller's session.
func (s *Sessions) SignOut(ctx context.Context, c *caller.Caller) error {
	tx := s.store.In(c.Practice)
	tx.LockUser(c.User)
	tx.EndSession(c.Session, c.User, ReasonSignedOut)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(c.Session), 0))}, nil
	})
}

// List returns the caller's live sessions, oldest first.
func (s *Sessions) List(ctx context.Context, c *caller.Caller) ([]store.Session, error) {
	tx := s.store.In(c.Practice)
	list := tx.Sessions(c.User, s.life.Idle)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(len(list.All())))}, nil
	})
	return list.All(), err
}

// End ends one of the caller's own sessions.
func (s *Sessions) End(ctx context.Context, c *caller.Caller, id uuid.UUID) error {
	tx := s.store.In(c.Practice)
	tx.LockUser(c.User)
	ended := tx.EndSession(id, c.User, ReasonEnded)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !ended.Found() {
			return nil, errs.New(errs.KindNotFound, "SESSION_NOT_FOUND", "there is no such open session")
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0))}, nil
	})
}

// EndOthers ends the caller's other sessions, and the caller's own where it is asked for.
func (s *Sessions) EndOthers(ctx context.Context, c *caller.Caller, current bool) (int, error) {
	except := c.Session
	if current {
		except = uuid.Nil
	}
	tx := s.store.In(c.Practice)
	tx.LockUser(c.User)
	ended := tx.EndSessions(c.User, except, ReasonEnded)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(len(ended.All())))}, nil
	})
	return len(ended.All()), err
}

// EndAllOf ends the sessions of a user of the caller's practice and says how many there were.
func (s *Sessions) EndAllOf(ctx context.Context, c *caller.Caller, user uuid.UUID) (int, error) {
	tx := s.store.In(c.Practice)
	found := tx.User(user)
	tx.LockUser(user)
	ended := tx.EndSessions(user, uuid.Nil, ReasonEnded)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !found.Found() {
			return nil, errs.New(errs.KindNotFound, "USER_NOT_FOUND", "there is no such user")
		}
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.Resource("users/"+user.String(), 0), evidence.Count(len(ended.All())))}, nil
	})
	return len(ended.All()), err
}
