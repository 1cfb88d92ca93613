package outbound

import (
	"context"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// life is how long the provider may be away before a message to a patient is of no use.
const life = 12 * time.Hour

// Draft is a message to a patient as its sender asks for it.
type Draft struct {
	Number   string
	Campaign uuid.UUID // nil UUID: none was named
	Template string
	Params   map[string]string
	Request  *uuid.UUID
}

var (
	errTemplate = errs.New(errs.KindInvalid, "TEMPLATE_UNKNOWN", "there is no such template for patients; ListMessageTemplates lists them")
	errParams   = errs.New(errs.KindInvalid, "PARAMETERS_INVALID",
		"send every parameter of the template, and no other, each in the form that ListMessageTemplates states")
)

// MessageName is the resource name of a message.
func MessageName(id uuid.UUID) string { return "messages/" + id.String() }

// Send queues a message to a patient of the caller's practice.
func (s *SMS) Send(ctx context.Context, c *caller.Caller, d Draft) (store.Message, error) {
	queued, err := s.draft(ctx, c, d)
	if err != nil {
		return store.Message{}, err
	}
	tx := s.store.In(c.Practice)
	// One a day and three a week hold in a race too.
	tx.LockNumber(queued.text.Token)
	earlier := tx.MessageOfRequest(c.User, d.Request)
	queued.Queue(tx)
	written := tx.Message(queued.ID())
	err = tx.Do(ctx, func() ([]*auditv1.Event, error) {
		id := queued.ID()
		if row, again := earlier.One(); again {
			id = row.ID
		} else if err := queued.Err(); err != nil {
			return nil, err
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(MessageName(id), 0))}, nil
	})
	if err != nil {
		return store.Message{}, err
	}
	s.Poke()
	if row, again := earlier.One(); again {
		return row, nil
	}
	row, _ := written.One()
	return row, nil
}

func (s *SMS) draft(ctx context.Context, c *caller.Caller, d Draft) (*Queued, error) {
	if !s.On() {
		return nil, errOff
	}
	number, err := sms.Number(d.Number)
	if err != nil {
		return nil, err
	}
	template, ok := sms.Templates[d.Template]
	if !ok || !template.Patient() {
		return nil, errTemplate
	}
	tx := s.store.In(c.Practice)
	found := tx.Campaign(d.Campaign)
	if err := tx.Read(ctx); err != nil {
		return nil, err
	}
	campaign, ok := found.One()
	if !ok {
		return nil, errCampaign
	}
	body, err := template.Compose(campaign.Brand, campaign.Contact, d.Params)
	if err != nil {
		return nil, errParams
	}
	return s.prepare(ctx, c.Practice, store.NewText{
		Category: template.Category, Template: d.Template, Campaign: &campaign.ID, Life: life, Creator: &c.User, Request: d.Request,
	}, sms.Message{To: number, From: campaign.Sender, Body: body})
}

// Messages lists the practice's messages before an id, the newest first, and says whether there are more.
func (s *SMS) Messages(ctx context.Context, c *caller.Caller, before uuid.UUID, size int) ([]store.Message, bool, error) {
	tx := s.store.In(c.Practice)
	rows := tx.Messages(before, size+1)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("messages", 0), evidence.Count(min(size, len(rows.All()))))}, nil
	})
	list := rows.All()
	return list[:min(size, len(list))], len(list) > size, err
}
