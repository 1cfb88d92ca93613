package passkey

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/signin"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// BeginSignIn makes the challenge of a sign-in, for whoever will answer.
func (p *Passkeys) BeginSignIn(ctx context.Context, client session.Client) (Ceremony, error) {
	if err := p.Limiter.Ceremony(ctx, client.Address); err != nil {
		return Ceremony{}, err
	}
	return p.begin(ctx, store.Platform, store.SigningIn, nil, nil)
}

func (p *Passkeys) begin(ctx context.Context, practice uuid.UUID, kind store.Ceremony, of *uuid.UUID, allow [][]byte) (Ceremony, error) {
	id, challenge := uuid.Must(uuid.NewV7()), random(ChallengeBytes)
	tx := p.Store.In(practice)
	tx.BeginCeremony(id, kind, of, challenge)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Reason("PASSKEY_BEGUN"))}, nil
	})
	if err != nil {
		return Ceremony{}, err
	}
	options, err := p.Party.Request(challenge, allow)
	return Ceremony{ID: id, Options: options}, err
}

// FinishSignIn opens a session for the user whose passkey answered. The attempt is
// counted before anything is looked at.
func (p *Passkeys) FinishSignIn(ctx context.Context, ceremony uuid.UUID, answer []byte, client session.Client) (signin.Result, error) {
	refuse := func(account store.SignIn, stage string, err error) (signin.Result, error) {
		return signin.Result{}, p.blame(ctx, account, client, stage, err)
	}
	if err := p.Limiter.Address(ctx, client.Address); err != nil {
		return refuse(store.SignIn{}, errs.ReasonOf(err), err)
	}
	challenge, err := p.take(ctx, store.Platform, ceremony, store.SigningIn, nil)
	if err != nil {
		return refuse(store.SignIn{}, errs.ReasonOf(err), err)
	}
	if challenge == nil {
		return refuse(store.SignIn{}, stageCeremony, ErrRefused)
	}
	read, err := Read(answer)
	if err != nil {
		return refuse(store.SignIn{}, stageMalformed, ErrRefused)
	}
	row, account, err := p.find(ctx, read)
	if err != nil {
		return refuse(store.SignIn{}, errs.ReasonOf(err), err)
	}
	if row.ID == uuid.Nil {
		return refuse(store.SignIn{}, stageUnknown, ErrRefused)
	}
	use, err := p.Party.Verify(read, challenge, key(row), true)
	if err != nil {
		return refuse(account, stageWrong, ErrRefused)
	}
	if stage := signin.Barred(account); stage != "" {
		return refuse(account, stage, ErrRefused)
	}
	return p.open(ctx, row, account, use, client)
}

// blame refuses a sign-in; an answer that is wrong speaks against the address.
func (p *Passkeys) blame(ctx context.Context, account store.SignIn, client session.Client, stage string, err error) error {
	tx, blocks := p.Store.In(account.Practice), nothing
	if errs.ReasonOf(err) == ErrRefused.Reason() {
		blocks = guard.Blame(ctx, p.Limiter, tx, client.Address, limit.PointsFailure, guard.ReasonSignIns)
	}
	return p.record(ctx, tx, blocks, stage, err, about(account, client)...)
}

// find looks the credential up in all practices.
func (p *Passkeys) find(ctx context.Context, a Answer) (store.PasskeyUser, store.SignIn, error) {
	tx := p.Store.In(store.Platform)
	rows, accounts := tx.PasskeyOf(a.Credential())
	if err := tx.Read(ctx); err != nil {
		return store.PasskeyUser{}, store.SignIn{}, err
	}
	row, _ := rows.One()
	account, _ := accounts.One()
	return row, account, nil
}

func key(row store.PasskeyUser) Key {
	return Key{ID: row.CredentialID, PublicKey: row.PublicKey, Handle: row.Handle, SignCount: row.SignCount, BackupEligible: row.BackupEligible}
}

// about names the account, once it is known, and where the client is.
func about(account store.SignIn, client session.Client) []func(*auditv1.Event) {
	return []func(*auditv1.Event){
		evidence.User(account.User, account.Username), evidence.Practice(account.Practice), evidence.Address(client.Address),
	}
}

func (p *Passkeys) open(ctx context.Context, row store.PasskeyUser, account store.SignIn, use Use, client session.Client) (signin.Result, error) {
	who := about(account, client)
	letter, err := p.warn(ctx, account.Practice, row, use, client.Address)
	if err != nil {
		return signin.Result{}, p.refuse(ctx, account.Practice, errs.ReasonOf(err), err, who...)
	}
	tx := p.Store.In(account.Practice)
	opening := p.Sessions.Open(tx, session.Of(account), method.Passkey, client)
	used := tx.UsePasskey(row, use.SignCount, use.BackedUp)
	letter(tx)
	var result signin.Result
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !used.Found() {
			return nil, ErrRefused
		}
		opened, _ := opening.Result()
		result = signin.Result{Opened: opened, Factors: account.Factors}
		recorder := evidence.From(ctx)
		mods := append(who[:len(who):len(who)], evidence.Session(opened.ID), evidence.Resource(session.Name(opened.ID), 0))
		return append(opening.Events(recorder, who[:len(who):len(who)]...), recorder.Event(append(mods, risk(use)...)...)), nil
	})
	if err != nil {
		stage := stageRace
		if used.Found() {
			stage = errs.ReasonOf(err)
		}
		return signin.Result{}, p.refuse(ctx, account.Practice, stage, err, who...)
	}
	if use.Regressed {
		p.Notices.Poke()
	}
	return result, nil
}

// risk marks the event of an answer whose counter did not go up.
func risk(use Use) []func(*auditv1.Event) {
	if !use.Regressed {
		return nil
	}
	return []func(*auditv1.Event){evidence.Reason(reasonRegressed), evidence.Risk(auditv1.Risk_RISK_HIGH)}
}

// warn prepares what tells the user of a counter that did not go up.
func (p *Passkeys) warn(ctx context.Context, practice uuid.UUID, row store.PasskeyUser, use Use, address string) (func(*store.Tx), error) {
	if !use.Regressed {
		return func(*store.Tx) {}, nil
	}
	letter, err := p.Notices.Prepare(ctx, practice, row.User, notice.PasskeyCloned, notice.Details{What: row.DisplayName, Address: address})
	return letter.Queue, err
}

// BeginStepUp makes the challenge that one of the caller's passkeys answers.
func (p *Passkeys) BeginStepUp(ctx context.Context, c *caller.Caller) (Ceremony, error) {
	tx := p.Store.In(c.Practice)
	list := tx.Passkeys(c.User)
	if err := tx.Read(ctx); err != nil {
		return Ceremony{}, err
	}
	if !list.Found() {
		return Ceremony{}, errNone
	}
	return p.begin(ctx, c.Practice, store.SteppingUp, &c.Session, credentialIDs(list.All()))
}

// FinishStepUp gives the caller's session the passkey as a method, and a new token.
func (p *Passkeys) FinishStepUp(ctx context.Context, c *caller.Caller, ceremony uuid.UUID, answer []byte) (session.Opened, error) {
	if err := p.Limiter.Secret(ctx, c.User); err != nil {
		return session.Opened{}, err
	}
	challenge, err := p.take(ctx, c.Practice, ceremony, store.SteppingUp, &c.Session)
	if err != nil {
		return session.Opened{}, err
	}
	if challenge == nil {
		return session.Opened{}, p.refuse(ctx, c.Practice, stageCeremony, ErrRefused)
	}
	read, err := Read(answer)
	if err != nil {
		return session.Opened{}, p.refuse(ctx, c.Practice, stageMalformed, ErrRefused)
	}
	row, _, err := p.find(ctx, read)
	if err != nil {
		return session.Opened{}, err
	}
	if row.User != c.User {
		return session.Opened{}, p.refuse(ctx, c.Practice, stageUnknown, ErrRefused)
	}
	use, err := p.Party.Verify(read, challenge, key(row), false)
	if err != nil {
		return session.Opened{}, p.refuse(ctx, c.Practice, stageWrong, ErrRefused)
	}
	return p.raise(ctx, c, row, use)
}

func (p *Passkeys) raise(ctx context.Context, c *caller.Caller, row store.PasskeyUser, use Use) (session.Opened, error) {
	standing, err := p.Sessions.Standing(ctx, c)
	if err != nil {
		return session.Opened{}, err
	}
	letter, err := p.warn(ctx, c.Practice, row, use, c.Address)
	if err != nil {
		return session.Opened{}, err
	}
	tx := p.Store.In(c.Practice)
	opening := p.Sessions.Raise(tx, c, standing.Proof, method.Passkey)
	used := tx.UsePasskey(row, use.SignCount, use.BackedUp)
	letter(tx)
	opened, err := opening.Commit(ctx, tx, func() error {
		if !used.Found() {
			return ErrRefused
		}
		return nil
	}, risk(use)...)
	if err == nil && use.Regressed {
		p.Notices.Poke()
	}
	return opened, err
}
