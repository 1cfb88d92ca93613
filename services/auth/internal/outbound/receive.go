package outbound

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

const (
	// confirmationLife: a confirmation comes within five minutes or not at all (47 CFR 64.1200(a)(12)).
	confirmationLife = 5 * time.Minute
	// mostReviews is how many replies of one number wait at most; sending rests from the first on.
	mostReviews = 20
)

var (
	errSigned = errs.New(errs.KindUnauthenticated, "SIGNATURE_WRONG",
		"the form must be signed by the provider, over the webhook's address exactly as auth's configuration has it")
	errRepeated = errors.New("outbound: the message came before")
)

// Receive takes a reply. What it asks for holds once Receive returns; a repeated delivery does nothing more.
func (s *SMS) Receive(ctx context.Context, form []byte, signature string) error {
	if !s.On() {
		return errOff
	}
	reply, err := s.config.Signed(form, signature)
	if err != nil {
		return errs.Wrap(err, errSigned.Kind(), errSigned.Reason(), errSigned.Public())
	}
	tx := s.store.In(store.Platform)
	found := tx.LineOf(reply.To)
	if err := tx.Read(ctx); err != nil {
		return err
	}
	line, ok := found.One()
	if !ok {
		// The installation's own number, or one that nobody registered: what is asked of it holds for everybody.
		line = store.Line{Practice: store.Platform, Brand: s.config.Brand, Contact: s.config.Contact}
	}
	switch reply.Means() {
	case sms.MeaningStop:
		err = s.stop(ctx, line, reply)
	case sms.MeaningHelp:
		err = s.help(ctx, line, reply)
	case sms.MeaningStart:
		// Consent is not given by text, and no opt-out is lifted.
		err = s.note(ctx, line.Practice, reply, "START_REFUSED")
	default:
		err = s.review(ctx, line, reply)
	}
	if errors.Is(err, errRepeated) {
		return nil
	}
	s.Poke()
	return err
}

// stop suppresses the number at once and for good. Only then is it confirmed, once:
// whatever the confirmation needs must not hold up the stop.
func (s *SMS) stop(ctx context.Context, line store.Line, reply sms.Reply) error {
	tx := s.store.In(line.Practice)
	first := tx.Received(reply.SID)
	token := s.Token(line.Practice, reply.From)
	tx.Suppress(token)
	tx.RevokeConsents(token)
	if err := s.commit(ctx, tx, first, line.Practice, reply, "OPTED_OUT"); err != nil {
		return err
	}
	if err := s.confirm(ctx, line, reply); err != nil {
		s.log.WarnContext(ctx, "an opt-out holds, but its confirmation could not be queued", telemetry.KeyError, err.Error())
	}
	return nil
}

func (s *SMS) confirm(ctx context.Context, line store.Line, reply sms.Reply) error {
	answer, err := s.answer(ctx, line, reply, sms.TemplateStopped, confirmationLife)
	if err != nil {
		return err
	}
	tx := s.store.In(line.Practice)
	answer.Queue(tx)
	return tx.Read(ctx)
}

func (s *SMS) help(ctx context.Context, line store.Line, reply sms.Reply) error {
	answer, err := s.answer(ctx, line, reply, sms.TemplateHelp, life)
	if err != nil {
		return err
	}
	tx := s.store.In(line.Practice)
	first := tx.Received(reply.SID)
	answer.Queue(tx)
	return s.commit(ctx, tx, first, line.Practice, reply, "HELP")
}

func (s *SMS) note(ctx context.Context, practice uuid.UUID, reply sms.Reply, reason string) error {
	tx := s.store.In(practice)
	return s.commit(ctx, tx, tx.Received(reply.SID), practice, reply, reason)
}

// review lets sending to the number rest until somebody has read the reply.
func (s *SMS) review(ctx context.Context, line store.Line, reply sms.Reply) error {
	practices := []uuid.UUID{line.Practice}
	if line.Practice == store.Platform {
		tx := s.store.In(store.Platform)
		users := tx.CodesTo(s.Token(store.Platform, reply.From))
		if err := tx.Read(ctx); err != nil {
			return err
		}
		if list := users.All(); len(list) > 0 {
			practices = list
		}
	}
	for i, practice := range practices {
		if err := s.reviewIn(ctx, practice, reply, i == len(practices)-1); err != nil {
			return err
		}
	}
	return nil
}

// reviewIn keeps the reply in one practice. Only the last one notes that it came in, so
// that the provider's next delivery goes on where this one broke off.
func (s *SMS) reviewIn(ctx context.Context, practice uuid.UUID, reply sms.Reply, last bool) error {
	token := s.Token(practice, reply.From)
	hold := s.store.In(practice)
	hold.Hold(token, reply.SID)
	if err := hold.Read(ctx); err != nil {
		return err
	}
	id := uuid.NewSHA1(practice, []byte(reply.SID)) // the same in each delivery
	row := store.Review{ID: id}
	var err error
	if row.Number, err = s.sealer.Seal(ctx, seal.Number, id, []byte(reply.From)); err != nil {
		return err
	}
	if row.Text, err = s.sealer.Seal(ctx, seal.Reply, id, []byte(reply.Body)); err != nil {
		return err
	}
	tx := s.store.In(practice)
	tx.InsertReview(row, token, mostReviews)
	if !last {
		return tx.Read(ctx)
	}
	first := tx.Received(reply.SID)
	return s.commit(ctx, tx, first, practice, reply, "SUSPENDED")
}

// answer prepares a reply to a reply, from the number that was written to.
func (s *SMS) answer(ctx context.Context, line store.Line, reply sms.Reply, template string, life time.Duration) (*Queued, error) {
	body, err := sms.Templates[template].Compose(line.Brand, line.Contact, nil)
	if err != nil {
		return nil, err
	}
	text := store.NewText{Category: store.CategoryAnswer, Template: template, Life: life}
	if template == sms.TemplateStopped {
		// One confirmation for each number, however often it says stop.
		text.ID = uuid.NewSHA1(line.Practice, s.Token(line.Practice, reply.From))
	}
	return s.prepare(ctx, line.Practice, text, sms.Message{To: reply.From, From: reply.To, Body: body})
}

func (s *SMS) commit(ctx context.Context, tx *store.Tx, first *store.Rows[string], practice uuid.UUID, reply sms.Reply, reason string) error {
	return tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !first.Found() {
			return nil, errRepeated
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Practice(practice),
			evidence.Resource("replies/"+reply.SID, 0), evidence.Reason(reason))}, nil
	})
}
