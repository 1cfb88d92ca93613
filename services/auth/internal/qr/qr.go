// Package qr signs a device in that shows a QR code, when a phone that is signed in
// approves (claim DH-25). A request lives for two minutes, is answered once, and only
// to the browser that began it, in the network where it began. The phone must name the number
// that the device shows, so that a code which somebody else put in front of its
// owner is not approved without looking.
package qr

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"math/big"
	"slices"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

// Life is how long a request waits for its phone.
const Life = 2 * time.Minute

// SignIns are sign-ins that a phone approves.
type SignIns struct {
	Store     *store.Store
	Sessions  *session.Sessions
	Limiter   *limit.Limiter
	Notices   *notice.Notices
	PublicURL string
	Now       func() time.Time
}

// Begun is a request as the browser that began gets it.
type Begun struct {
	ID      uuid.UUID
	Secret  string
	URI     string
	SVG     string
	Number  int32
	Expires time.Time
}

var (
	errUnknown = errs.New(errs.KindNotFound, "QR_UNKNOWN", "there is no such request for this browser and network; begin again")
	errOver    = errs.New(errs.KindPrecondition, "QR_OVER", "the request was answered or is too old; begin again")
	errNumber  = errs.New(errs.KindPrecondition, "QR_NUMBER_WRONG",
		"the other device shows another number, so the request was ended; if you did not begin it, somebody wants into your account")
)

// Begin makes a request for a browser.
func (s *SignIns) Begin(ctx context.Context, client session.Client) (Begun, error) {
	if err := s.Limiter.Address(ctx, client.Address); err != nil {
		return Begun{}, err
	}
	begun := Begun{ID: uuid.New(), Secret: token.New(token.Browser)}
	numbers := draw()
	begun.Number = numbers[between(0, len(numbers))]
	begun.URI = s.PublicURL + Path + begun.ID.String()
	var err error
	if begun.SVG, err = image(begun.URI); err != nil {
		return Begun{}, err
	}
	tx := s.Store.In(store.Platform)
	kept := tx.InsertQR(store.NewQR{
		ID: begun.ID, SecretHash: token.Hash(begun.Secret), Number: begun.Number, Numbers: numbers,
		Network: network.Of(client.Address), UserAgent: client.UserAgent, Life: Life,
	})
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		begun.Expires, _ = kept.One()
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.Resource(name(begun.ID), 0), evidence.Address(client.Address), evidence.Reason("QR_BEGUN"))}, nil
	})
	return begun, err
}

// draw makes three different numbers of two digits.
func draw() []int32 {
	var numbers []int32
	for len(numbers) < 3 {
		if n := int32(between(10, 100)); !slices.Contains(numbers, n) { //nolint:gosec // two digits
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// between is an even choice of low ≤ n < high.
func between(low, high int) int {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(high-low)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return low + int(n.Int64())
}

// Request is what the phone shows of a request.
type Request struct {
	store.QR
	SameNetwork bool
}

// Get shows the caller's phone who asks to be signed in.
func (s *SignIns) Get(ctx context.Context, c *caller.Caller, id uuid.UUID) (Request, error) {
	if err := s.Limiter.Secret(ctx, c.User); err != nil {
		return Request{}, err
	}
	tx := s.Store.In(c.Practice)
	found := tx.QR(id)
	if err := tx.Read(ctx); err != nil {
		return Request{}, err
	}
	row, ok := found.One()
	if !ok {
		return Request{}, errUnknown
	}
	if row.Expired || row.State != store.QRPending {
		return Request{}, errOver
	}
	return Request{QR: row, SameNetwork: row.Network != "" && row.Network == network.Of(c.Address)}, nil
}

// Approve signs the other device in as the caller, where the number is right. A session that
// a phone approved is never fresh by that, so it approves no other before its user has proved both factors.
func (s *SignIns) Approve(ctx context.Context, c *caller.Caller, id uuid.UUID, number int32) error {
	if err := session.Fresh(c, s.Now()); err != nil {
		return err
	}
	state, err := s.decide(ctx, c, id, number)
	if err == nil && state != store.QRApproved {
		return errNumber
	}
	return err
}

// Deny ends a request that the caller did not begin.
func (s *SignIns) Deny(ctx context.Context, c *caller.Caller, id uuid.UUID) error {
	_, err := s.decide(ctx, c, id, 0)
	return err
}

func (s *SignIns) decide(ctx context.Context, c *caller.Caller, id uuid.UUID, number int32) (store.QRState, error) {
	tx := s.Store.In(c.Practice)
	decided := tx.DecideQR(id, number, c.User, c.Session)
	var state store.QRState
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		var open bool
		if state, open = decided.One(); !open {
			return nil, errOver
		}
		mods := []func(*auditv1.Event){evidence.Resource(name(id), 0)}
		switch {
		case state == store.QRApproved:
			mods = append(mods, evidence.Reason("QR_APPROVED"))
		case number == 0:
			mods = append(mods, evidence.Reason("QR_DENIED"), evidence.Risk(auditv1.Risk_RISK_MEDIUM))
		default:
			mods = append(mods, evidence.Failure(errNumber), evidence.Risk(auditv1.Risk_RISK_HIGH))
		}
		return []*auditv1.Event{evidence.From(ctx).Event(mods...)}, nil
	})
	return state, err
}

// Answer is how a request stands. Session is there where State is store.QRUsed.
type Answer struct {
	State   store.QRState
	Expired bool
	Session session.Opened
}

// Poll answers the browser that began, and opens its session once the phone has approved.
func (s *SignIns) Poll(ctx context.Context, id uuid.UUID, secret string, client session.Client) (Answer, error) {
	if err := s.Limiter.Poll(ctx, client.Address); err != nil {
		return Answer{}, err
	}
	if !token.Plausible(token.Browser, secret) {
		return Answer{}, errUnknown
	}
	tx := s.Store.In(store.Platform)
	found := tx.QR(id)
	if err := tx.Read(ctx); err != nil {
		return Answer{}, err
	}
	row, _ := found.One()
	if subtle.ConstantTimeCompare(row.SecretHash, token.Hash(secret)) != 1 ||
		row.Network != network.Of(client.Address) || row.UserAgent != client.UserAgent {
		return Answer{}, errUnknown
	}
	switch {
	case row.State == store.QRUsed:
		return Answer{}, errOver
	case row.State == store.QRApproved && !row.Expired:
		return s.open(ctx, id, *row.User, client)
	}
	answer := Answer{State: row.State, Expired: row.Expired}
	record := s.Store.In(store.Platform)
	// Not a sign-in, and not recorded as one.
	err := record.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Action(accessv1.Action_ACTION_READ),
			evidence.Resource(name(id), 0), evidence.Address(client.Address), evidence.Reason("QR_WAITING"))}, nil
	})
	return answer, err
}

func (s *SignIns) open(ctx context.Context, id, user uuid.UUID, client session.Client) (Answer, error) {
	read := s.Store.In(store.Platform)
	found := read.AccountOf(user)
	if err := read.Read(ctx); err != nil {
		return Answer{}, err
	}
	account, known := found.One()
	if !known || account.PracticeDisabled {
		return Answer{}, errOver
	}
	letter, err := s.Notices.Prepare(ctx, account.Practice, user, notice.QRSignIn, notice.Details{Address: client.Address, UserAgent: client.UserAgent})
	if err != nil {
		return Answer{}, err
	}
	tx := s.Store.In(account.Practice)
	opening := s.Sessions.Open(tx, session.Of(account), method.QR, client)
	taken := tx.TakeQR(id, user)
	letter.Queue(tx)
	answer := Answer{State: store.QRUsed}
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !taken.Found() {
			return nil, errOver
		}
		answer.Session, _ = opening.Result()
		who := []func(*auditv1.Event){
			evidence.User(user, account.Username), evidence.Practice(account.Practice), evidence.Address(client.Address),
		}
		recorder := evidence.From(ctx)
		event := recorder.Event(append(slices.Clone(who), evidence.Session(answer.Session.ID),
			evidence.Resource(session.Name(answer.Session.ID), 0), evidence.Reason("QR_SIGNED_IN"), evidence.Risk(auditv1.Risk_RISK_MEDIUM))...)
		return append(opening.Events(recorder, who[:len(who):len(who)]...), event), nil
	})
	if err != nil {
		return Answer{}, err
	}
	s.Notices.Poke()
	return answer, nil
}

// name is how audit events name a request. Whoever knows it alone can do nothing with it.
func name(id uuid.UUID) string { return "qrSignIns/" + id.String() }
