package outbound

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// PrepareCode writes a one-time code to a user's own number. It takes the consent
// that the user gave at enrolment (PrepareEnrolment), no campaign, and no daily
// limit; a number that said stop gets no codes either. After life it is not sent any more.
func (s *SMS) PrepareCode(ctx context.Context, practice, user uuid.UUID, number, code string, life time.Duration) (*Queued, error) {
	if !s.On() {
		return nil, errOff
	}
	number, err := sms.Number(number)
	if err != nil {
		return nil, err
	}
	body, err := sms.Templates[sms.TemplateCode].Compose(s.config.Brand, s.config.Contact, map[string]string{"code": code})
	if err != nil {
		return nil, err
	}
	return s.prepare(ctx, practice,
		store.NewText{Category: store.CategoryCodes, Template: sms.TemplateCode, Life: life, Creator: &user},
		sms.Message{To: number, From: s.config.From, Body: body})
}

// Enrolment is a user's consent to codes at a number, sealed and ready to join a transaction.
type Enrolment struct{ consent store.NewConsent }

// PrepareEnrolment seals the consent that a user gives by enrolling a number. Record
// it in the transaction that queues the first code to it, before the code.
func (s *SMS) PrepareEnrolment(ctx context.Context, practice, user uuid.UUID, number string) (*Enrolment, error) {
	if !s.On() {
		return nil, errOff
	}
	number, err := sms.Number(number)
	if err != nil {
		return nil, err
	}
	id := uuid.Must(uuid.NewV7())
	sealed, err := s.sealer.Seal(ctx, seal.Number, id, []byte(number))
	if err != nil {
		return nil, err
	}
	return &Enrolment{store.NewConsent{
		ID: id, Token: s.Token(practice, number), Sealed: sealed, Category: store.CategoryCodes, Source: int16(SourceEnrolment), Creator: user,
	}}, nil
}

// Record adds the consent to a transaction in the user's practice.
func (e *Enrolment) Record(tx *store.Tx) { tx.InsertConsent(e.consent) }

// Source says how a consent was given; the numbers are stored and are those of the proto file.
type Source int16

// SourceEnrolment is a user's own enrolment of the number for one-time codes.
const SourceEnrolment Source = 1
