package rights

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// A token is base64url of the practice's id and 256 random bits. The practice is no
// secret; it tells row-level security where to look.
const (
	practiceBytes = 16
	tokenBytes    = practiceBytes + 32

	defaultValid = 72 * time.Hour
	maxIssued    = 5 // tokens of a request in a day
	maxFailures  = 10
	failureTime  = time.Hour
)

var (
	// errToken is one answer for a token that never was, ended, or was used: it tells a guesser nothing.
	errToken   = errs.New(errs.KindUnauthenticated, "TOKEN_INVALID", "This token is not valid, has expired, or was used for this already. Ask the practice for a new one.")
	errGuesses = errs.New(errs.KindLimited, "TOO_MANY_TOKENS", "Too many wrong tokens came from this network: try again in an hour.").WithRetry(failureTime)
	errIssued  = errs.New(errs.KindLimited, "TOO_MANY_ISSUED", "Five tokens were issued for this request within a day: try again tomorrow.").WithRetry(24 * time.Hour)
)

// Issue makes a one-time token for a person whose identity was verified (claim DX-12). An
// earlier one of the request ends.
func (r *Rights) Issue(ctx context.Context, at Place, valid time.Duration) (string, time.Time, error) {
	who, err := caller(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	_, e, err := requests.find(ctx, r, who, at)
	if err != nil {
		return "", time.Time{}, err
	}
	if e.msg.GetVerification() == nil {
		return "", time.Time{}, r.refuse(ctx, errUnverified, requests.about(at, 0))
	}
	if valid == 0 {
		valid = defaultValid
	}
	raw := make([]byte, tokenBytes)
	copy(raw, who.viewer.Practice[:])
	_, _ = rand.Read(raw[practiceBytes:]) // never fails: without randomness crypto/rand ends the process
	hash := sha256.Sum256(raw)
	now := r.now()
	var done bool
	err = r.access.Do(ctx, pg.Unit{
		Practice: who.viewer.Practice,
		Queue: func(b *pgx.Batch) {
			store.IssueToken(b, who.viewer.Practice, store.PatientToken{
				Hash: hash[:], Patient: at.Patient, Request: at.ID, Issuer: who.user, Issued: now, Expires: now.Add(valid),
			}, now.Add(-24*time.Hour), maxIssued, &done)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errIssued
			}
			return []*auditv1.Event{evidence.From(ctx).Event(requests.about(at, 0), evidence.Reason("TOKEN_ISSUED"))}, nil
		},
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return base64.RawURLEncoding.EncodeToString(raw), now.Add(valid), nil
}

// bearer is the holder of a token.
type bearer struct {
	actor
	hash []byte
	at   Place // of the request that the token is for
}

// parse reads a token, and tells the evidence whose it says it is.
func (r *Rights) parse(ctx context.Context, token, address string) (bearer, error) {
	from := network.Client(address)
	var failures int
	now := r.now()
	err := r.access.Do(ctx, pg.Unit{Queue: func(b *pgx.Batch) { store.CountFailures(b, from, now.Add(-failureTime), &failures) }})
	if err != nil {
		return bearer{}, err
	}
	evidence.From(ctx).SetBearer(uuid.Nil, accessv1.Purpose_PURPOSE_INDIVIDUAL, address)
	if failures >= maxFailures {
		return bearer{}, errGuesses
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenBytes {
		return bearer{}, r.wrong(ctx, address)
	}
	practice, hash := uuid.UUID(raw[:practiceBytes]), sha256.Sum256(raw)
	return bearer{actor: actor{viewer: store.Viewer{Practice: practice, Whole: true}}, hash: hash[:]}, nil
}

// wrong counts a wrong token against the network it came from.
func (r *Rights) wrong(ctx context.Context, address string) error {
	now := r.now()
	err := r.access.Do(ctx, pg.Unit{
		Queue: func(b *pgx.Batch) { store.AddFailure(b, network.Client(address), now, now.Add(-24*time.Hour)) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Failure(errToken))}, nil
		},
	})
	if err != nil {
		return err
	}
	return errToken
}

// spend uses the token for one action, and returns who may do it, with a context in which accesses are held against the
// practice's marks. That commits no evidence of the action itself: the caller of this function does.
func (r *Rights) spend(ctx context.Context, token, use, address string) (context.Context, bearer, error) {
	return r.use(ctx, token, address, func(b *pgx.Batch, who bearer, out *store.PatientToken, found *bool) {
		store.SpendToken(b, who.viewer.Practice, who.hash, use, r.now(), out, found)
	})
}

func (r *Rights) use(ctx context.Context, token, address string,
	queue func(*pgx.Batch, bearer, *store.PatientToken, *bool),
) (context.Context, bearer, error) {
	who, err := r.parse(ctx, token, address)
	if err != nil {
		return ctx, who, err
	}
	practice := who.viewer.Practice
	var kept store.PatientToken
	var found bool
	if err := r.inside(ctx, who.actor, func(b *pgx.Batch) { queue(b, who, &kept, &found) }); err != nil {
		return ctx, who, err
	}
	if !found {
		return ctx, who, r.wrong(ctx, address)
	}
	evidence.From(ctx).SetBearer(practice, accessv1.Purpose_PURPOSE_INDIVIDUAL, address)
	who.at = Place{kept.Patient, kept.Request}
	attended, err := r.watch.Attend(ctx, practice)
	if err != nil {
		return ctx, who, err
	}
	return attended, who, nil
}

// View shows the holder of a token where the request stands.
func (r *Rights) View(ctx context.Context, token, address string) (*Request, error) {
	ctx, who, err := r.spend(ctx, token, store.UseView, address)
	if err != nil {
		return nil, err
	}
	return r.forPerson(r.shown(requests.read(ctx, r, who.actor, who.at)))
}

// StateByToken files a statement of the holder of a token.
func (r *Rights) StateByToken(ctx context.Context, token, address, text string) (*Request, error) {
	ctx, who, err := r.spend(ctx, token, store.UseStatement, address)
	if err != nil {
		return nil, err
	}
	return r.forPerson(r.state(ctx, who.actor, who.at, text))
}

// forPerson leaves out what is the practice's own: which of its staff did what.
func (r *Rights) forPerson(m *Request, err error) (*Request, error) {
	if err != nil {
		return nil, err
	}
	if m.GetVerification() != nil {
		m.Verification.User = ""
	}
	if m.GetDecision() != nil {
		m.Decision.User = ""
	}
	if m.GetCompletion() != nil {
		m.Completion.User = ""
	}
	return m, nil
}
