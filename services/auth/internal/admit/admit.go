// Package admit decides whether a request may pass and signs the caller token
// that it travels with. Requests that arrive at the same time go to the database
// in one statement and one commit; that statement checks session, idle time and
// the request limit, so that revocation is immediate and limits are exact
// whatever the number of replicas.
package admit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/token"
)

// Window is the time over which a user's requests are counted (claim DH-33).
const Window = time.Minute

// Signer signs caller tokens; *caller.Signer does.
type Signer interface {
	Sign(c caller.Caller, now time.Time) (string, error)
}

// Options of an Admitter.
type Options struct {
	Store  *store.Store
	Signer Signer
	Now    func() time.Time // the clock of caller tokens
	Idle   time.Duration
	// Devices reads device tokens.
	Devices *device.Tokens
	// PerMinute is how many requests a user may make within Window.
	PerMinute int
	// Workers is how many batches are in flight at once; default 2.
	Workers int
	// Waived are gates that the operator does not enforce.
	Waived access.Gates
	// Used is told of every request that passed; it must not block.
	Used func(c *caller.Caller, method string)
}

// Admitter admits requests.
type Admitter struct {
	opts    Options
	batches *batches
	tokens  *tokens
}

// New starts the workers; Close ends them.
func New(o Options) (*Admitter, error) {
	if o.Workers == 0 {
		o.Workers = 2
	}
	tokens, err := newTokens(o.Signer, o.Now)
	if err != nil {
		return nil, err
	}
	a := &Admitter{opts: o, tokens: tokens}
	a.batches = newBatches(o.Workers, a.decide)
	return a, nil
}

// Close waits for the requests in work.
func (a *Admitter) Close() {
	a.batches.close()
	a.tokens.close()
}

// Request is one request to admit.
type Request struct {
	Token      string
	Audience   accessv1.Service
	Method     string
	Client     session.Client
	Purpose    accessv1.Purpose
	Background bool
}

// The answer is one for all dead sessions: the audit event tells which way it died.
var (
	errSession = errs.New(errs.KindUnauthenticated, "SESSION_INVALID", "the session is unknown or over; sign in")
	errBlocked = errs.New(errs.KindLimited, "ADDRESS_BLOCKED", "too much went wrong from this address; wait before you try again")
	errLimited = errs.New(errs.KindLimited, "REQUESTS_LIMITED", "too many requests; wait before you try again")
	// Not like a dead session: the request is as good as ever, and signing in again does not help.
	errContained = errs.New(errs.KindDenied, "CONTAINED", "this part of carekeep was cut off to keep it safe; a superadmin has to let it in again")
	errPurpose   = errs.New(errs.KindDenied, "PURPOSE_NOT_ALLOWED", "your role may not state this purpose of use; name in X-Purpose-Of-Use what the data is for")
)

// practiceContained is the refusal of whoever belongs to a practice that is cut off.
var practiceContained = "PRACTICE_CONTAINED"

// Admit returns a caller token, or an error that says why not.
func (a *Admitter) Admit(ctx context.Context, r Request) (string, error) {
	item := &item{ctx: ctx, request: r, hash: token.Hash(r.Token)}
	if err := a.batches.do(ctx, item); err != nil {
		return "", err
	}
	evidence.From(ctx).Committed([]*auditv1.Event{item.event})
	if item.err != nil {
		return "", item.err
	}
	if a.opts.Used != nil {
		a.opts.Used(&item.caller, r.Method)
	}
	return a.tokens.of(item.caller)
}

// decide runs one batch. An error is everybody's; what concerns one request stands in its item.
func (a *Admitter) decide(ctx context.Context, items []*item) error {
	asks := make([]store.Ask, len(items))
	for i, it := range items {
		from := it.request.Client
		asks[i] = store.Ask{
			TokenHash: it.hash, Background: it.request.Background,
			Network: network.Of(from.Address), Address: network.Client(from.Address),
		}
		if it.device = a.opts.Devices.Read(from.DeviceToken); it.device != uuid.Nil {
			asks[i].Device = &it.device
		}
	}
	tx := a.opts.Store.In(store.Platform)
	admissions := tx.Admit(asks, a.opts.Idle, Window, a.opts.PerMinute)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if len(admissions.All()) != len(items) {
			return nil, errs.New(errs.KindInternal, "ADMIT_INCOMPLETE", "internal error")
		}
		events := make([]*auditv1.Event, len(items))
		for _, row := range admissions.All() {
			it := items[row.Place-1]
			row.Gates &^= a.opts.Waived
			it.caller, it.err = judge(it.request, row)
			it.caller.Device = it.device
			it.event = event(it, row)
			events[row.Place-1] = it.event
		}
		return events, nil
	})
}

// judge turns a row into a caller, or into the error for the client.
func judge(r Request, row store.Admission) (caller.Caller, error) {
	switch {
	case row.Refusal != nil && *row.Refusal == errLimited.Reason():
		return caller.Caller{}, errLimited.WithRetry(max(deref(row.Retry), time.Millisecond))
	case row.Refusal != nil && *row.Refusal == errBlocked.Reason():
		return caller.Caller{}, errBlocked.WithRetry(max(deref(row.Retry), time.Millisecond))
	case row.Refusal != nil || row.Contained:
		return caller.Caller{}, errSession
	case slices.Contains(row.CutServices, r.Audience):
		return caller.Caller{}, errContained
	}
	role := roles.Role{Kind: *row.Kind, Template: *row.Template}
	held, err := permissions(role, row)
	if err != nil {
		return caller.Caller{}, err
	}
	// None is for requests that touch no patient data: libs/server refuses it on the others.
	if r.Purpose != accessv1.Purpose_PURPOSE_UNSPECIFIED && !roles.MayState(role.Kind, held, r.Purpose) {
		return caller.Caller{}, errPurpose
	}
	level, gates, authenticated := *row.Assurance, row.Gates&enforced, deref(row.Authenticated)
	if gates.Has(accessv1.Gate_GATE_NETWORK) {
		// Whoever has the token is somewhere else now, and has to show that it is theirs
		// before anything else, above all before adding a factor.
		level, authenticated = accessv1.Assurance_ASSURANCE_AAL1, time.Time{}
	}
	var withheld access.Permissions
	if gates != 0 {
		withheld = held.And(access.Patient())
		held = held.Without(withheld)
	}
	return caller.Caller{
		User: *row.User, Practice: *row.Practice, Session: *row.Session, Username: *row.Username,
		Role: role.Kind, Template: role.Template, Assurance: level,
		Permissions: roles.AtAssurance(held, level), Withheld: withheld, Gates: gates,
		// Whole seconds, as in the token: a finer time would make each token a new one.
		Authenticated: authenticated.Truncate(time.Second),
		Purpose:       r.Purpose, ActsFor: row.Doctors, Address: r.Client.Address, Audience: r.Audience,
	}, nil
}

// enforced are the gates that take something away, unless the operator waives them.
var enforced = access.NewGates(accessv1.Gate_GATE_TRAINING, accessv1.Gate_GATE_ATTESTATION, accessv1.Gate_GATE_BAA,
	accessv1.Gate_GATE_FACTOR, accessv1.Gate_GATE_NETWORK, accessv1.Gate_GATE_CERTIFICATION)

// permissions are what the role gives, or the custom role in its place, with what
// was granted for a while, less the modules that no doctor opens to a member.
func permissions(role roles.Role, row store.Admission) (access.Permissions, error) {
	held := roles.Of(role)
	if row.Custom != nil {
		custom, err := access.FromBytes(row.Custom)
		if err != nil {
			return access.Permissions{}, fmt.Errorf("admit: a custom role is broken: %w", err)
		}
		held = custom
	}
	if len(row.Extra) > 0 {
		held = held.Or(access.NewPermissions(row.Extra...))
	}
	// A grant or a custom role from before the user changed kind raises nobody above the new one.
	held = held.And(roles.Ceiling(role))
	if row.Modules != nil {
		held = roles.Narrow(held, *row.Modules)
	}
	return held, nil
}

// event tells who asked for what; the resource is the method that is admitted.
func event(it *item, row store.Admission) *auditv1.Event {
	mods := []func(*auditv1.Event){
		evidence.User(deref(row.User), deref(row.Username)),
		evidence.Practice(deref(row.Practice)),
		evidence.Address(it.request.Client.Address),
		evidence.Resource(it.request.Method, 0),
	}
	if session := deref(row.Session); session != uuid.Nil {
		mods = append(mods, evidence.Session(session))
	}
	if it.device != uuid.Nil {
		mods = append(mods, evidence.Device(it.device))
	}
	if it.err == nil {
		mods = append(mods, func(e *auditv1.Event) { e.Purpose = it.caller.Purpose })
	} else {
		mods = append(mods, evidence.Failure(it.err))
	}
	if row.Refusal == nil && row.Contained {
		row.Refusal = &practiceContained
	}
	if row.Refusal != nil {
		mods = append(mods, func(e *auditv1.Event) { e.Reason = *row.Refusal })
	}
	return evidence.From(it.ctx).Event(mods...)
}

func deref[T any](p *T) T {
	var none T
	if p == nil {
		return none
	}
	return *p
}
