package grant_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// No sequence of calls, by anybody and with any session, reaches a caller token with
// a permission above the ceiling of its kind, one that nobody else decided, one
// that ended, or one over patient data behind a closed gate or below AAL2.
func TestDH09_DC29_NoSequenceReachesMoreThanWasGiven(t *testing.T) {
	t.Parallel()
	h := newTown(t)
	rapid.Check(t, func(rt *rapid.T) {
		h.reset(rt)
		h.begin(rt)
		h.look(rt)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			actor := rapid.SampledFrom(h.people).Draw(rt, "actor")
			before := actor.reach
			h.step(rt, actor)
			h.look(rt)
			if over := actor.reach.Without(before); over.Len() > 0 {
				rt.Fatalf("%s reaches %v by a step of their own", actor.Username, over.List())
			}
		}
	})
	t.Log(h.seen)
	for _, what := range []string{"patient data opened", "elevated", "elevation over", "closed by TRAINING", "closed by ATTESTATION",
		"closed by BAA", "closed by FACTOR", "closed by CERTIFICATION", "closed by NETWORK", "custom role", "capped"} {
		require.NotZero(t, h.seen[what], "the sequences never got as far as: %s", what)
	}
}

// town is a practice, and beside it what the test expects of it.
type town struct {
	*testkit.World
	governance authv1.GovernanceServiceClient
	verifier   *caller.Verifier
	db         *pgx.Conn
	root       *testkit.Person
	people     []*citizen
	items      map[string]*citizen // certification items of roles
	reviewed   []string            // their names
	custom     []*authv1.CustomRole
	grants     []*promise
	from       time.Time // of the agreement
	until      time.Time
	passkeys   bool
	seen       map[string]int
}

type citizen struct {
	*testkit.Person
	born     roles.Role // before each sequence
	role     roles.Role
	custom   string
	strong   string // session tokens
	weak     string
	trained  time.Time
	attested time.Time
	revoked  bool
	reach    access.Permissions // what they held when we looked, with what gates withheld
}

// alone is what a session with one factor may do, all of it with the own account.
var alone = access.NewPermissions(
	accessv1.Permission_PERMISSION_SELF_READ, accessv1.Permission_PERMISSION_SELF_SESSIONS_END,
	accessv1.Permission_PERMISSION_SELF_FACTORS_ENROL, accessv1.Permission_PERMISSION_SELF_FACTORS_VERIFY,
	accessv1.Permission_PERMISSION_SELF_FACTORS_READ, accessv1.Permission_PERMISSION_SELF_COMPROMISE_REPORT,
)

// GoString is how a sequence that failed names the person.
func (p *citizen) GoString() string { return p.Username }

// promise is a grant as the answers of the RPCs told it.
type promise struct {
	name       string
	user       *citizen
	permission accessv1.Permission
	asked      time.Time
	until      time.Time // zero until it is approved
}

func newTown(t *testing.T) *town {
	w := testkit.New(t, wide, gated)
	h := &town{World: w, governance: governance(w), seen: map[string]int{}, items: map[string]*citizen{}}
	h.root = w.Superadmin()
	alice := w.NewPractice(h.root, "alice")
	add := func(p *testkit.Person, kind accessv1.RoleKind, template string) {
		role := roles.Role{Kind: kind, Template: template}
		h.people = append(h.people, &citizen{Person: p, born: role})
	}
	add(alice, admin, "")
	add(w.NewUser(alice, "bob", admin, ""), admin, "")
	add(w.NewUser(alice, "dr.smith", doctor, ""), doctor, "")
	add(w.NewUser(alice, "nancy", staff, roles.Nurse), staff, roles.Nurse)
	add(w.NewUser(alice, "rita", staff, roles.Receptionist), staff, roles.Receptionist)
	for _, p := range h.people {
		p.strong = p.Session
		response, err := p.TrySignIn(w.Auth, testkit.Password, "")
		require.NoError(t, err)
		p.weak = response.GetSessionToken()
	}
	var err error
	h.db, err = w.Postgres.AdminConn(w.Context(), w.Database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.db.Close(context.Background()) })
	h.verifier, err = caller.NewVerifier(w.Callers.Keys, records, w.Clock.Now)
	require.NoError(t, err)
	t.Cleanup(h.verifier.Close)

	// The review of a quarter gives everybody's role an item.
	h.pass(t, 92*24*time.Hour)
	require.NoError(t, w.Auth.App.Upkeep(w.Context()))
	list, err := h.governance.ListCertificationItems(alice.Context(), &authv1.ListCertificationItemsRequest{})
	require.NoError(t, err)
	for _, item := range list.GetItems() {
		h.items[item.GetName()] = h.citizen(item.GetUser())
		h.reviewed = append(h.reviewed, item.GetName())
	}
	require.Len(t, h.items, len(h.people))
	return h
}

func (h *town) citizen(user string) *citizen {
	return h.people[slices.IndexFunc(h.people, func(p *citizen) bool { return p.User == user })]
}

// fataler is a test or one sequence of it.
type fataler interface {
	Fatalf(format string, args ...any)
}

func (h *town) exec(t fataler, sql string, args ...any) {
	if _, err := h.db.Exec(h.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// pass lets time go by in which all keep their sessions: those have tests of their own.
func (h *town) pass(t fataler, d time.Duration) {
	h.Clock.Advance(d)
	h.exec(t, "UPDATE sessions SET last_use = $1, expires = $1::timestamptz + interval '12 hours'", h.Clock.Now())
}

// reset brings everybody back to where they were, with all gates open.
func (h *town) reset(t fataler) {
	now := h.Clock.Now()
	h.custom, h.grants, h.passkeys = nil, nil, false
	h.from, h.until = now, now.Add(2*365*24*time.Hour)
	for _, p := range h.people {
		p.role, p.custom, p.revoked = p.born, "", false
		p.trained, p.attested = now.Add(365*24*time.Hour), now
		h.exec(t, "UPDATE users SET role = $2, template = $3, role_id = NULL, role_since = NULL, certified_until = NULL, trained_until = $4 WHERE id = $1",
			p.ID, p.born.Kind, p.born.Template, p.trained)
	}
	h.exec(t, "DELETE FROM grants")
	h.exec(t, "DELETE FROM assignments")
	h.exec(t, "DELETE FROM roles")
	h.exec(t, "UPDATE devices SET attested = $1", now)
	h.exec(t, "UPDATE practices SET baa_version = '1', baa_from = $1, baa_until = $2, require_passkey = false", h.from, h.until)
	h.exec(t, "UPDATE certification_items SET outcome = 0, decided = NULL, decided_by = NULL")
}

// closed is what must stand before the patient data of the person.
func (h *town) closed(p *citizen) access.Gates {
	now := h.Clock.Now()
	var closed []accessv1.Gate
	for gate, open := range map[accessv1.Gate]bool{
		accessv1.Gate_GATE_TRAINING:      p.trained.After(now),
		accessv1.Gate_GATE_ATTESTATION:   !p.attested.Add(30 * 24 * time.Hour).Before(now),
		accessv1.Gate_GATE_BAA:           !h.from.After(now) && h.until.After(now),
		accessv1.Gate_GATE_FACTOR:        !h.passkeys,
		accessv1.Gate_GATE_CERTIFICATION: !p.revoked,
	} {
		if !open {
			closed = append(closed, gate)
		}
	}
	return access.NewGates(closed...)
}

// given is what the person holds by role, and what was granted on top and still counts.
func (h *town) given(p *citizen) (base, extra access.Permissions) {
	base = roles.Of(p.role)
	for _, role := range h.custom {
		if role.GetName() == p.custom {
			base = access.NewPermissions(role.GetPermissions()...)
		}
	}
	for _, g := range h.grants {
		if g.user == p && g.until.After(h.Clock.Now()) {
			extra.Add(g.permission)
		}
	}
	return base, extra
}

// look asks for a token in every kind of session and compares it with what was given.
func (h *town) look(rt *rapid.T) {
	odd := rapid.SampledFrom(h.people).Draw(rt, "who has a weak session and travels")
	asks := []*testkit.Person{odd.with(odd.weak, odd.Address), odd.with(odd.strong, "203.0.113.7")}
	for _, p := range h.people {
		asks = append(asks, p.with(p.strong, p.Address))
	}
	callers := h.admit(rt, asks)
	weak, away := callers[0], callers[1]
	if weak.Assurance >= accessv1.Assurance_ASSURANCE_AAL2 {
		rt.Fatalf("%s: a password alone is %v", odd.Username, weak.Assurance)
	}
	if !away.Gates.Has(accessv1.Gate_GATE_NETWORK) {
		rt.Fatalf("%s: nobody knows this network", odd.Username)
	}
	h.judge(rt, odd, weak)
	h.judge(rt, odd, away)
	for i, p := range h.people {
		c := callers[2+i]
		if want := h.closed(p); c.Gates != want {
			rt.Fatalf("%s: the gates %v are closed, not %v", p.Username, c.Gates.List(), want.List())
		}
		h.judge(rt, p, c)
		p.reach = c.Permissions.Or(c.Withheld)
	}
}

// with is the person in one of their sessions, somewhere.
func (p *citizen) with(session, address string) *testkit.Person {
	person := *p.Person
	person.Session, person.Address = session, address
	return &person
}

// admit asks for all of them at the same time, which is one statement for the database.
func (h *town) admit(rt *rapid.T, asks []*testkit.Person) []*caller.Caller {
	callers, problems := make([]*caller.Caller, len(asks)), make([]error, len(asks))
	var work sync.WaitGroup
	for i, p := range asks {
		work.Go(func() {
			token, err := p.Admit(h.Auth, records, false)
			if err == nil {
				callers[i], err = h.verifier.Verify(token)
			}
			problems[i] = err
		})
	}
	work.Wait()
	if err := errors.Join(problems...); err != nil {
		rt.Fatalf("%v", err)
	}
	return callers
}

func (h *town) judge(rt *rapid.T, p *citizen, c *caller.Caller) {
	ceiling := roles.Ceiling(p.role)
	base, extra := h.given(p)
	if c.Role != p.role.Kind || c.Template != p.role.Template {
		rt.Fatalf("%s is a %v", p.Username, c.Role)
	}
	if over := c.Permissions.Without(ceiling); over.Len() > 0 {
		rt.Fatalf("%s holds %v above the ceiling", p.Username, over.List())
	}
	if over := c.Permissions.Without(base.Or(extra)); over.Len() > 0 {
		rt.Fatalf("%s holds %v that nobody gave", p.Username, over.List())
	}
	patient := c.Permissions.And(access.Patient())
	if patient.Len() > 0 && (c.Gates != 0 || c.Assurance < accessv1.Assurance_ASSURANCE_AAL2) {
		rt.Fatalf("%s holds %v at %v behind %v", p.Username, patient.List(), c.Assurance, c.Gates.List())
	}
	if over := c.Permissions.Without(alone); c.Assurance < accessv1.Assurance_ASSURANCE_AAL2 && over.Len() > 0 {
		rt.Fatalf("%s holds %v at %v", p.Username, over.List(), c.Assurance)
	}
	if over := c.Withheld.Without(access.Patient()); over.Len() > 0 {
		rt.Fatalf("%s: gates take %v away, which are not about patients", p.Username, over.List())
	}
	for _, gate := range c.Gates.List() {
		h.seen["closed by "+gate.String()[len("GATE_"):]]++
	}
	for what, saw := range map[string]bool{
		"patient data opened": patient.Len() > 0,
		"elevated":            c.Permissions.And(extra).Without(base).Len() > 0,
		"custom role":         p.custom != "",
		"capped":              extra.Without(ceiling).Len() > 0,
		"elevation over": slices.ContainsFunc(h.grants, func(g *promise) bool {
			return g.user == p && !g.until.IsZero() && !g.until.After(h.Clock.Now()) && !c.Permissions.Has(g.permission)
		}),
	} {
		if saw {
			h.seen[what]++
		}
	}
}

// answered sorts answers: a refusal is one, anything else that fails is a bug.
func answered(rt *rapid.T, err error) bool {
	switch status.Code(err) {
	case codes.OK:
		return true
	case codes.PermissionDenied, codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound, codes.Aborted, codes.AlreadyExists:
		return false
	default:
		rt.Fatalf("%v", err)
		return false
	}
}
