// Package signin opens sessions for users who prove who they are. Whatever is
// wrong, the client sees one answer that takes one time; the audit event says
// which stage refused. Another way of proving identity would be another method
// here that ends in open.
package signin

import (
	"context"
	"strings"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/factor"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// SignIns opens sessions.
type SignIns struct {
	Store    *store.Store
	Sessions *session.Sessions
	Limiter  *limit.Limiter
	Failures *guard.Failures
	Hasher   *password.Hasher
	Factors  *factor.Factors
}

// Attempt is what somebody who wants to sign in presents.
type Attempt struct {
	Username string
	Password string
	Code     string // may be empty
	Client   session.Client
}

// Result is the session, and the second factors that its user has.
type Result struct {
	session.Opened
	Factors method.Set
}

// ErrFailed is the one answer to every wrong sign-in.
var ErrFailed = errs.New(errs.KindUnauthenticated, "SIGN_IN_FAILED", "the sign-in name, password or code is wrong")

// The stages that refuse, as audit events name them.
const (
	stageUnknown  = "UNKNOWN_USER"
	stageInvited  = "INVITATION_NOT_ACCEPTED"
	stagePassword = "WRONG_PASSWORD" //nolint:gosec // names a stage, holds no credential
	stageUser     = "USER_DISABLED"
	stageFrozen   = "ACCOUNT_FROZEN"
	stagePractice = "PRACTICE_DISABLED"
	stageCode     = "WRONG_CODE"
	stageRace     = "CODE_USED_OR_ACCOUNT_CHANGED"
)

// SignIn checks name, password and, where given, the code. The attempt is
// counted before anything is compared, and a password hash is computed whether
// or not the name exists.
func (s *SignIns) SignIn(ctx context.Context, a Attempt) (Result, error) {
	a.Username = strings.ToLower(a.Username)
	account, known, err := s.Limiter.SignIn(ctx, a.Username, a.Client.Address)
	if err != nil {
		return Result{}, s.refuse(ctx, a, account, errs.ReasonOf(err), err)
	}
	right, err := s.Hasher.Verify(ctx, account.PasswordHash, a.Password)
	if err != nil {
		return Result{}, s.refuse(ctx, a, account, errs.ReasonOf(err), err)
	}
	if stage := refusal(account, known, right); stage != "" {
		return Result{}, s.refuse(ctx, a, account, stage, ErrFailed)
	}
	step, methods := int64(0), method.Password
	if a.Code != "" && account.TotpSealed != "" {
		var ok bool
		if step, ok, err = s.Factors.Totp(ctx, account.User, account.TotpSealed, a.Code, account.TotpStep); err != nil {
			return Result{}, s.refuse(ctx, a, account, errs.ReasonOf(err), err)
		}
		if !ok {
			return Result{}, s.refuse(ctx, a, account, stageCode, ErrFailed)
		}
		methods |= method.TOTP
	}
	return s.open(ctx, a, account, step, methods)
}

func refusal(account store.SignIn, known, right bool) string {
	switch {
	case !known:
		return stageUnknown
	case account.PasswordHash == "":
		return stageInvited
	case !right:
		return stagePassword
	}
	return Barred(account)
}

// Barred names the stage that refuses an account whatever its user proves; "" where none does.
func Barred(account store.SignIn) string {
	switch {
	case account.UserDisabled:
		return stageUser
	case account.PracticeDisabled:
		return stagePractice
	case account.Frozen:
		return stageFrozen
	case account.Closed:
		return guard.StageClosed
	}
	return ""
}

// open keeps what was used up and opens the session, in one transaction.
func (s *SignIns) open(ctx context.Context, a Attempt, account store.SignIn, step int64, methods method.Set) (Result, error) {
	hash := account.PasswordHash
	if s.Hasher.Outdated(hash) {
		var err error
		if hash, err = s.Hasher.Hash(ctx, a.Password); err != nil {
			return Result{}, s.refuse(ctx, a, account, errs.ReasonOf(err), err)
		}
	}
	tx := s.Store.In(account.Practice)
	opening := s.Sessions.Open(tx, session.Of(account), methods, a.Client)
	used := tx.UseCredentials(account.User, account.PasswordHash, hash, step)
	var result Result
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !used.Found() {
			return nil, ErrFailed
		}
		opened, _ := opening.Result()
		result = Result{Opened: opened, Factors: account.Factors.Offered(account.AcceptEmail)}
		recorder, who := evidence.From(ctx), about(a, account)
		event := recorder.Event(append(who, evidence.Session(opened.ID), evidence.Resource(session.Name(opened.ID), 0),
			evidence.Reason(reached(opened, account)))...)
		return append(opening.Events(recorder, who...), event), nil
	})
	if err != nil {
		stage := stageRace
		if used.Found() {
			stage = errs.ReasonOf(err)
		}
		return Result{}, s.refuse(ctx, a, account, stage, err)
	}
	return result, nil
}

// reached names, for the event, where a sign-in that passed stands with its second factor (claim DC-09).
func reached(opened session.Opened, account store.SignIn) string {
	switch {
	case opened.Assurance >= accessv1.Assurance_ASSURANCE_AAL2:
		return "SECOND_FACTOR_GIVEN"
	case account.Factors != 0:
		return "SECOND_FACTOR_DUE"
	}
	return "SECOND_FACTOR_NOT_SET_UP"
}

// refuse records which stage refused and returns the error for the client. If
// the event cannot be kept, the server records or refuses in its own way.
func (s *SignIns) refuse(ctx context.Context, a Attempt, account store.SignIn, stage string, err error) error {
	event := evidence.From(ctx).Event(append(about(a, account), evidence.Failure(err), func(e *auditv1.Event) {
		if stage != "" {
			e.Reason = stage
		}
	})...)
	tx := s.Store.In(account.Practice)
	counted := func() []*auditv1.Event { return nil }
	if errs.ReasonOf(err) == ErrFailed.Reason() {
		counted = s.Failures.Count(ctx, tx, guard.Account{
			User: account.User, Practice: account.Practice, Username: a.Username, Address: a.Client.Address,
		})
	}
	if lost := tx.Do(ctx, func() ([]*auditv1.Event, error) { return append(counted(), event), nil }); lost != nil {
		return lost
	}
	return err
}

// about names the account, or what the client claimed it to be.
func about(a Attempt, account store.SignIn) []func(*auditv1.Event) {
	mods := []func(*auditv1.Event){
		evidence.User(account.User, a.Username), evidence.Practice(account.Practice), evidence.Address(a.Client.Address),
	}
	return mods[:len(mods):len(mods)] // appending to it copies
}
