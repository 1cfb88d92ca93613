package passkey

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// may reads where the caller stands and refuses who has to authenticate again
// first. Who has no second factor enrols the first one and cannot.
func (p *Passkeys) may(ctx context.Context, c *caller.Caller) (session.Standing, error) {
	standing, err := p.Sessions.Standing(ctx, c)
	if err == nil && standing.Factors != 0 {
		err = session.Fresh(c, p.Now())
	}
	return standing, err
}

// BeginRegistration makes the challenge of a registration.
func (p *Passkeys) BeginRegistration(ctx context.Context, c *caller.Caller) (Ceremony, error) {
	if _, err := p.may(ctx, c); err != nil {
		return Ceremony{}, err
	}
	id, challenge := uuid.Must(uuid.NewV7()), random(ChallengeBytes)
	tx := p.Store.In(c.Practice)
	users, list := tx.User(c.User), tx.Passkeys(c.User)
	handles := tx.Handle(c.User, random(handleBytes))
	tx.BeginCeremony(id, store.Registering, &c.Session, challenge)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !users.Found() || !handles.Found() {
			return nil, session.ErrOver
		}
		if len(list.All()) >= Most {
			return nil, errMany
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("passkeys/pending", 0))}, nil
	})
	if err != nil {
		return Ceremony{}, err
	}
	user, _ := users.One()
	handle, _ := handles.One()
	options, err := p.Party.Creation(challenge, holder{handle: handle, name: user.Username, display: user.DisplayName}, credentialIDs(list.All()))
	return Ceremony{ID: id, Options: options}, err
}

func credentialIDs(list []store.Passkey) [][]byte {
	var ids [][]byte
	for _, row := range list {
		ids = append(ids, row.CredentialID)
	}
	return ids
}

// Added is a new passkey.
type Added struct {
	Passkey store.Passkey
	// Others is how many other sessions the caller has.
	Others int
	// Raised is the raised session where the passkey is the first second factor.
	Raised *session.Opened
}

// FinishRegistration keeps the passkey that answered.
func (p *Passkeys) FinishRegistration(ctx context.Context, c *caller.Caller, ceremony uuid.UUID, answer []byte, name string) (Added, error) {
	standing, err := p.may(ctx, c)
	if err != nil {
		return Added{}, err
	}
	challenge, err := p.take(ctx, c.Practice, ceremony, store.Registering, &c.Session)
	if err != nil {
		return Added{}, err
	}
	if challenge == nil {
		return Added{}, p.refuse(ctx, c.Practice, stageCeremony, ErrRefused)
	}
	tx := p.Store.In(c.Practice)
	handles := tx.Handle(c.User, random(handleBytes))
	if err := tx.Read(ctx); err != nil {
		return Added{}, err
	}
	handle, _ := handles.One()
	made, err := p.Party.Register(challenge, handle, answer)
	if err != nil {
		return Added{}, p.refuse(ctx, c.Practice, stageWrong, ErrRefused)
	}
	letter, err := p.Notices.Prepare(ctx, c.Practice, c.User, notice.FactorAdded, notice.Details{What: "passkey " + name, Address: c.Address})
	if err != nil {
		return Added{}, err
	}
	return p.add(ctx, c, standing, store.NewPasskey{
		ID: uuid.Must(uuid.NewV7()), User: c.User, CredentialID: made.ID, PublicKey: made.PublicKey, SignCount: made.SignCount,
		BackupEligible: made.BackupEligible, BackedUp: made.BackedUp, Transports: made.Transports, DisplayName: name,
	}, letter)
}

func (p *Passkeys) add(ctx context.Context, c *caller.Caller, standing session.Standing, row store.NewPasskey, letter notice.Queued) (Added, error) {
	tx := p.Store.In(c.Practice)
	others := p.Sessions.Others(tx, c, false)
	list, added := tx.Passkeys(c.User), tx.AddPasskey(row, Most)
	gained := tx.GainFactor(c.User, standing.Factors, method.Passkey)
	var opening *session.Opening
	if standing.Factors == 0 {
		opening = p.Sessions.Raise(tx, c, standing.Proof, method.Passkey)
	}
	letter.Queue(tx)
	var result Added
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		kept, ok := added.One()
		switch {
		case !ok && len(list.All()) >= Most:
			return nil, errMany
		case !ok:
			return nil, ErrRefused
		case !gained.Found():
			return nil, errChanged
		}
		result.Passkey = kept
		result.Others, _ = others.Count()
		if opening != nil {
			opened, live := opening.Result()
			if !live {
				return nil, session.ErrOver
			}
			result.Raised = &opened
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(row.ID), 1), evidence.Reason("FACTOR_ADDED"))}, nil
	})
	if err != nil {
		if !added.Found() && len(list.All()) < Most {
			return Added{}, p.refuse(ctx, c.Practice, stageTaken, err)
		}
		return Added{}, err
	}
	p.Notices.Poke()
	return result, nil
}
