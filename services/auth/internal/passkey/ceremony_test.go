package passkey_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const (
	gone    = "CEREMONY_UNKNOWN"
	signing = accessv1.Action_ACTION_SIGN_IN
	factors = accessv1.Action_ACTION_FACTOR_CHANGE
)

// way is one of the three ceremonies, as its user goes through it.
type way struct {
	name   string
	action accessv1.Action
	begin  func() begun
	answer func([]byte) []byte
	finish func(string, []byte) error
}

func (c *clinic) ways() []way {
	get := func(options []byte) []byte {
		c.phone.credential.Counter++
		return c.phone.assertion(c.T, options, good)
	}
	create := func(options []byte) []byte { return newPhone().attestation(c.T, options, good) }
	return []way{
		{"registration", factors, c.beginRegistration, create, c.finishRegistration},
		{"sign-in", signing, c.beginSignIn, get, c.finishSignIn},
		{"step-up", signing, c.beginStepUp, get, c.finishStepUp},
	}
}

// at is the clinic as another replica serves it.
func (c *clinic) at(replica *testkit.Auth) *clinic {
	there := *c
	there.PasskeyServiceClient = authv1.NewPasskeyServiceClient(replica.Dial("gateway"))
	return &there
}

func TestDH26_AnAnswerCountsOnceOnWhicheverReplica(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	there := c.at(c.Replica())
	for i, here := range c.ways() {
		t.Run(here.name, func(t *testing.T) {
			other := there.ways()[i]
			ceremony := here.begin()
			answer := here.answer(ceremony.options)
			require.NoError(t, other.finish(ceremony.id, answer), "begun here, finished there")
			before := c.kept()
			for _, again := range []way{here, other} {
				c.refused(t, again.finish(ceremony.id, answer), here.action, gone, before)
			}
		})
	}
}

// A race over one good answer at two replicas has one winner.
func TestDH26_ARaceOverOneAnswerHasOneWinner(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	replicas := []*clinic{c, c.at(c.Replica())}
	for range 5 {
		ceremony := c.beginSignIn()
		c.phone.credential.Counter++
		request := &authv1.FinishPasskeySignInRequest{
			Ceremony: ceremony.id, Credential: toStruct(t, c.phone.assertion(t, ceremony.options, good)), Client: c.client(),
		}
		var opened, refused atomic.Int32
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				_, err := replicas[i%2].FinishPasskeySignIn(c.Context(), request)
				if err == nil {
					opened.Add(1)
				} else if errs.ReasonOf(err) == "PASSKEY_REFUSED" {
					refused.Add(1)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, opened.Load())
		require.EqualValues(t, 7, refused.Load())
	}
}

func TestDH26_AChallengeLapsesAfterFiveMinutes(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	stepUp := c.ways()[2]
	// pass lets time pass. A registration takes a session that proved itself within five minutes too.
	pass := func(way way, d time.Duration) {
		t.Helper()
		c.Clock.Advance(d - time.Minute)
		if way.action == factors {
			ceremony := stepUp.begin()
			require.NoError(t, stepUp.finish(ceremony.id, stepUp.answer(ceremony.options)))
		}
		c.Clock.Advance(time.Minute)
	}
	for _, way := range c.ways() {
		t.Run(way.name, func(t *testing.T) {
			ceremony := way.begin()
			pass(way, 5*time.Minute-time.Microsecond)
			require.NoError(t, way.finish(ceremony.id, way.answer(ceremony.options)), "not a moment sooner")

			ceremony = way.begin()
			pass(way, 5*time.Minute)
			before := c.kept()
			c.refused(t, way.finish(ceremony.id, way.answer(ceremony.options)), way.action, gone, before)
			c.Clock.Advance(-time.Minute)
			c.refused(t, way.finish(ceremony.id, way.answer(ceremony.options)), way.action, gone, before)
			c.Clock.Advance(time.Minute)
		})
	}
}

func TestDH26_ACeremonyBelongsToWhoBeganItAndWhatFor(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	stranger := *c
	stranger.smith = c.jones
	second := *c.smith
	c.Clock.Advance(time.Minute) // a code counts once
	second.SignIn()
	elsewhere := *c
	elsewhere.smith = &second
	for i, way := range c.ways() {
		for j, other := range c.ways() {
			if i == j {
				continue
			}
			t.Run(way.name+" as "+other.name, func(t *testing.T) {
				ceremony, before := way.begin(), c.kept()
				c.refused(t, other.finish(ceremony.id, way.answer(ceremony.options)), other.action, gone, before)
				c.refused(t, other.finish(ceremony.id, other.answer(ceremony.options)), other.action, gone, before)
			})
		}
		t.Run(way.name+" answers another challenge", func(t *testing.T) {
			stale := way.begin()
			ceremony, before := way.begin(), c.kept()
			c.refused(t, way.finish(ceremony.id, way.answer(stale.options)), way.action, wrong, before)
		})
		if way.name == "sign-in" {
			continue // nobody's until it is answered
		}
		for name, thief := range map[string]*clinic{"another user": &stranger, "another session": &elsewhere} {
			t.Run(way.name+" by "+name, func(t *testing.T) {
				ceremony, before := way.begin(), c.kept()
				answer := way.answer(ceremony.options)
				c.refused(t, thief.ways()[i].finish(ceremony.id, answer), way.action, gone, before)
				require.NoError(t, way.finish(ceremony.id, answer), "and is left for its own session")
			})
		}
		t.Run(way.name+" begun again", func(t *testing.T) {
			first := way.begin()
			next, before := way.begin(), c.kept()
			c.refused(t, way.finish(first.id, way.answer(first.options)), way.action, gone, before)
			require.NoError(t, way.finish(next.id, way.answer(next.options)))
		})
	}
}

// What is no answer at all says nothing about anybody, and does not use the challenge up.
func TestDH26_ARequestWithoutAnAnswerIsInvalid(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	ceremony := c.beginSignIn()
	for _, request := range []*authv1.FinishPasskeySignInRequest{
		{Ceremony: ceremony.id},
		{Ceremony: "1", Credential: &structpb.Struct{}},
		{Credential: &structpb.Struct{}},
	} {
		request.Client = c.client()
		_, err := c.FinishPasskeySignIn(c.Context(), request)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
	}
	_, err := c.FinishPasskeySignIn(c.Context(), &authv1.FinishPasskeySignInRequest{
		Ceremony: ceremony.id, Client: c.client(), Credential: toStruct(t, []byte(`{"id": "`+strings.Repeat("x", 8<<20)+`"}`)),
	})
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "larger than any message may be")
	c.phone.credential.Counter++
	require.NoError(t, c.finishSignIn(ceremony.id, c.phone.assertion(t, ceremony.options, good)))
}

// rules.md 2.6: 300 to 600 s, sixteen random bytes or more, user verification, the algorithms that we accept.
func TestDH26_BrowsersAreAskedForWhatTheRulesAskFor(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	seen := map[string]bool{}
	for _, b := range []begun{c.beginRegistration(), c.beginSignIn(), c.beginStepUp()} {
		var asked struct {
			Challenge              string
			Timeout                int
			UserVerification       string
			AuthenticatorSelection struct{ UserVerification string }
		}
		require.NoError(t, json.Unmarshal(b.options, &asked))
		require.Equal(t, 300_000, asked.Timeout)
		raw, err := base64.RawURLEncoding.DecodeString(asked.Challenge)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(raw), 16)
		require.False(t, seen[asked.Challenge])
		seen[asked.Challenge] = true
		require.Equal(t, "required", asked.UserVerification+asked.AuthenticatorSelection.UserVerification)
	}
}
