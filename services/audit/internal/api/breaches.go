package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/audit/internal/breach"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	breachPage    = 50
	recipientPage = 100
)

// BreachService implements the API of breaches.
type BreachService struct {
	auditv1.UnimplementedBreachServiceServer
	breaches *breach.Breaches
}

// NewBreaches makes the service.
func NewBreaches(x *breach.Breaches) *BreachService { return &BreachService{breaches: x} }

// step begins a step of the caller's.
func (s *BreachService) step(ctx context.Context, kind auditv1.BreachStep_Kind, text string) breach.Step {
	out := breach.Step{Kind: kind, Time: s.breaches.Now().UTC().Truncate(time.Microsecond), Text: text}
	if c, ok := caller.From(ctx); ok {
		out.User = c.User
	}
	return out
}

// then does something to a breach and shows what it is then.
func (s *BreachService) then(ctx context.Context, name string, do func(own, id uuid.UUID) error) (*auditv1.Breach, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	id := lastID(name)
	if err := do(own, id); err != nil {
		return nil, err
	}
	return s.breaches.Get(ctx, own, id)
}

func (s *BreachService) change(ctx context.Context, name string, step breach.Step) (*auditv1.Breach, error) {
	return s.then(ctx, name, func(own, id uuid.UUID) error { return s.breaches.Change(ctx, own, id, step) })
}

// OpenBreach implements the RPC.
func (s *BreachService) OpenBreach(ctx context.Context, r *auditv1.OpenBreachRequest) (*auditv1.Breach, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	step := s.step(ctx, auditv1.BreachStep_KIND_OPENED, "")
	step.Incident, step.Day, step.Occurred, step.Zone = lastID(r.GetIncident()), r.GetDiscoveryDate(), r.GetOccurrenceDate(), r.GetTimeZone()
	step.Type, step.Locations = r.GetType(), r.GetLocations()
	if at := r.GetAwareTime(); at != nil {
		if at.CheckValid() != nil {
			return nil, invalid("aware_time", "must be a time between the years 1 and 9999")
		}
		step.Aware = at.AsTime()
	}
	id, err := s.breaches.Open(ctx, own, step)
	if err != nil {
		return nil, err
	}
	return s.breaches.Get(ctx, own, id)
}

// ListBreaches implements the RPC.
func (s *BreachService) ListBreaches(ctx context.Context, r *auditv1.ListBreachesRequest) (*auditv1.ListBreachesResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	list, next, err := s.breaches.List(ctx, own, lastID(r.GetPageToken()), sizeOr(r.GetPageSize(), breachPage))
	if err != nil {
		return nil, err
	}
	return &auditv1.ListBreachesResponse{Breaches: list, NextPageToken: token(next)}, nil
}

func sizeOr(asked int32, usual int) int {
	if asked == 0 {
		return usual
	}
	return int(asked)
}

// token is where a list goes on that is paged by id; empty at its end.
func token(next uuid.UUID) string {
	if next == uuid.Nil {
		return ""
	}
	return next.String()
}

// GetBreach implements the RPC.
func (s *BreachService) GetBreach(ctx context.Context, r *auditv1.GetBreachRequest) (*auditv1.Breach, error) {
	return s.then(ctx, r.GetName(), func(uuid.UUID, uuid.UUID) error { return nil })
}

// AssessBreach implements the RPC.
func (s *BreachService) AssessBreach(ctx context.Context, r *auditv1.AssessBreachRequest) (*auditv1.Breach, error) {
	low, text, err := breach.Findings(r.GetAssessment())
	if err != nil {
		return nil, err
	}
	step := s.step(ctx, auditv1.BreachStep_KIND_ASSESSED, text)
	step.Low = low
	if e := r.GetAssessment().GetEncryptionEvidence(); e != nil {
		step.Encrypted = &store.Range{From: e.GetFromSeq(), To: e.GetToSeq()}
	}
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error { return s.breaches.Assess(ctx, own, id, step) })
}

// MoveDiscovery implements the RPC.
func (s *BreachService) MoveDiscovery(ctx context.Context, r *auditv1.MoveDiscoveryRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_DISCOVERY_PROPOSED, r.GetText())
	step.Day = r.GetDiscoveryDate()
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error {
		now, err := s.breaches.Get(ctx, own, id)
		if err != nil {
			return err
		}
		if step.Day < now.GetDiscoveryDate() { // both as YYYY-MM-DD; the register looks again
			step.Kind = auditv1.BreachStep_KIND_DISCOVERY_MOVED
		}
		return s.breaches.Change(ctx, own, id, step)
	})
}

// ApproveDiscovery implements the RPC.
func (s *BreachService) ApproveDiscovery(ctx context.Context, r *auditv1.ApproveDiscoveryRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_DISCOVERY_APPROVED, "")
	step.Day = r.GetDiscoveryDate()
	return s.change(ctx, r.GetName(), step)
}

// CollectRecipients implements the RPC.
func (s *BreachService) CollectRecipients(ctx context.Context, r *auditv1.CollectRecipientsRequest) (*auditv1.Breach, error) {
	q, err := radiusQuery(ctx, r.GetQuery())
	if err != nil {
		return nil, err
	}
	step := s.step(ctx, auditv1.BreachStep_KIND_RECIPIENTS_ADDED, "")
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error { return s.breaches.Collect(ctx, own, id, q, step) })
}

// ListRecipients implements the RPC.
func (s *BreachService) ListRecipients(ctx context.Context, r *auditv1.ListRecipientsRequest) (*auditv1.ListRecipientsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	list, next, err := s.breaches.Recipients(ctx, own, lastID(r.GetName()), lastID(r.GetPageToken()), sizeOr(r.GetPageSize(), recipientPage))
	if err != nil {
		return nil, err
	}
	return &auditv1.ListRecipientsResponse{Recipients: list, NextPageToken: token(next)}, nil
}

// CountStates implements the RPC.
func (s *BreachService) CountStates(ctx context.Context, r *auditv1.CountStatesRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_STATES_COUNTED, "")
	step.States = map[string]int64{}
	for _, c := range r.GetStates() {
		if step.States[c.GetState()] > 0 {
			return nil, invalid("states", "names a State twice")
		}
		step.States[c.GetState()] = c.GetCount()
	}
	return s.change(ctx, r.GetName(), step)
}

// DelayBreach implements the RPC.
func (s *BreachService) DelayBreach(ctx context.Context, r *auditv1.DelayBreachRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_DELAYED, r.GetText())
	step.Day, step.Until, step.Written = r.GetStatementDate(), r.GetUntilDate(), r.GetWritten()
	return s.change(ctx, r.GetName(), step)
}

// WriteLetter implements the RPC.
func (s *BreachService) WriteLetter(ctx context.Context, r *auditv1.WriteLetterRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_LETTER_WRITTEN, "")
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error { return s.breaches.WriteLetter(ctx, own, id, r.GetElements(), step) })
}

// RenderLetter implements the RPC.
func (s *BreachService) RenderLetter(ctx context.Context, r *auditv1.RenderLetterRequest) (*auditv1.Letter, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	text, err := s.breaches.Render(ctx, own, lastID(r.GetName()), r.GetPracticeName())
	if err != nil {
		return nil, err
	}
	return &auditv1.Letter{Text: text}, nil
}

// RecordDelivery implements the RPC.
func (s *BreachService) RecordDelivery(ctx context.Context, r *auditv1.RecordDeliveryRequest) (*auditv1.Recipient, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	step := s.step(ctx, 0, "")
	return s.breaches.Deliver(ctx, store.Delivery{
		Breach: lastID(r.GetName()), Patient: lastID(r.GetPatient()), Practice: own, Kind: int16(r.GetKind()), User: step.User, Created: step.Time,
	}, r.GetProof())
}

// RecordSubstituteNotice implements the RPC.
func (s *BreachService) RecordSubstituteNotice(ctx context.Context, r *auditv1.RecordSubstituteNoticeRequest) (*auditv1.Breach, error) {
	if r.GetConspicuous() && r.GetTollFreeNumber() == "" {
		return nil, invalid("toll_free_number", "is required (45 CFR 164.404(d)(2)(ii))")
	}
	text := r.GetText()
	if r.GetTollFreeNumber() != "" {
		text += "\nToll-free: " + r.GetTollFreeNumber()
	}
	step := s.step(ctx, auditv1.BreachStep_KIND_SUBSTITUTE_NOTICE, text)
	step.Day, step.Until, step.Open = r.GetFromDate(), r.GetToDate(), r.GetConspicuous()
	return s.change(ctx, r.GetName(), step)
}

// RecordNotification implements the RPC.
func (s *BreachService) RecordNotification(ctx context.Context, r *auditv1.RecordNotificationRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_NOTIFIED, r.GetReceipt())
	step.Facts.Kind, step.State = r.GetKind(), r.GetState()
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error { return s.breaches.Notify(ctx, own, id, r.GetReasons(), step) })
}

// GetHhsForm implements the RPC.
func (s *BreachService) GetHhsForm(ctx context.Context, r *auditv1.GetHhsFormRequest) (*auditv1.HhsForm, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	return s.breaches.Form(ctx, own, lastID(r.GetName()))
}

// CloseBreach implements the RPC.
func (s *BreachService) CloseBreach(ctx context.Context, r *auditv1.CloseBreachRequest) (*auditv1.Breach, error) {
	step := s.step(ctx, auditv1.BreachStep_KIND_CLOSED, r.GetText())
	return s.then(ctx, r.GetName(), func(own, id uuid.UUID) error { return s.breaches.Close(ctx, own, id, step) })
}
