package breach

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Recipients shows at most size patients by id, after the given one, and where the next page begins.
func (x *Breaches) Recipients(ctx context.Context, practice, id, after uuid.UUID, size int) ([]*auditv1.Recipient, uuid.UUID, error) {
	if _, err := x.load(ctx, practice, id); err != nil {
		return nil, uuid.Nil, err
	}
	patients, err := x.Store.Recipients(ctx, practice, id, after, size+1)
	if err != nil {
		return nil, uuid.Nil, err
	}
	var next uuid.UUID
	if len(patients) > size {
		patients = patients[:size]
		next = patients[size-1]
	}
	list, err := x.recipients(ctx, practice, id, patients)
	return list, next, err
}

func (x *Breaches) recipients(ctx context.Context, practice, id uuid.UUID, patients []uuid.UUID) ([]*auditv1.Recipient, error) {
	deliveries, err := x.Store.Deliveries(ctx, practice, id, patients)
	if err != nil {
		return nil, err
	}
	sealed := make([]seal.Sealed, len(deliveries))
	for n, d := range deliveries {
		sealed[n] = seal.Sealed{Place: placeOf(d), Text: d.Sealed}
	}
	proofs, err := x.Seal.Open(ctx, sealed)
	if err != nil {
		return nil, err
	}
	list, at := make([]*auditv1.Recipient, len(patients)), map[uuid.UUID]int{}
	for n, patient := range patients {
		list[n], at[patient] = &auditv1.Recipient{Patient: "patients/" + patient.String()}, n
	}
	for n, d := range deliveries {
		of := list[at[d.Patient]]
		of.Deliveries = append(of.Deliveries, &auditv1.Delivery{
			Kind: auditv1.Delivery_Kind(d.Kind), CreateTime: timestamppb.New(d.Created), User: "users/" + d.User.String(), Proof: string(proofs[n]),
		})
	}
	return list, nil
}

// placeOf binds a proof to its breach and delivery.
func placeOf(d store.Delivery) []byte { return append(d.Breach[:], d.ID[:]...) }

// Deliver records what became of a patient's letter.
func (x *Breaches) Deliver(ctx context.Context, d store.Delivery, proof string) (*auditv1.Recipient, error) {
	s, err := x.load(ctx, d.Practice, d.Breach)
	if err != nil {
		return nil, err
	}
	if !s.state.Closed.IsZero() {
		return nil, refuse("BREACH_CLOSED", "the breach is closed")
	}
	if s.state.Letter == 0 {
		return nil, refuse("LETTER_MISSING", "write the letter first")
	}
	if proof == "" && d.Kind != int16(auditv1.Delivery_KIND_NO_ADDRESS) {
		return nil, invalid("proof", "is required, as a postal number")
	}
	before, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	d.ID = before
	found, err := x.Store.Recipients(ctx, d.Practice, d.Breach, previous(d.Patient), 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[0] != d.Patient {
		return nil, errs.New(errs.KindNotFound, "RECIPIENT_NOT_FOUND", "this patient is none of the recipients")
	}
	sealed, err := x.Seal.Seal(ctx, []seal.Value{{Place: placeOf(d), Plain: []byte(proof)}})
	if err != nil {
		return nil, err
	}
	d.Sealed = sealed[0]
	if err := x.Store.AddDelivery(ctx, d, func(ctx context.Context) error {
		recorder := evidence.From(ctx)
		event := recorder.Event(evidence.Resource(Name(d.Breach), 0), evidence.Patient(d.Patient))
		if err := x.Sink.Record(ctx, event); err != nil {
			return err
		}
		recorder.Committed([]*auditv1.Event{event})
		return nil
	}); err != nil {
		return nil, err
	}
	list, err := x.recipients(ctx, d.Practice, d.Breach, []uuid.UUID{d.Patient})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// previous is the UUID before one, after which a list begins with it.
func previous(id uuid.UUID) uuid.UUID {
	for n := len(id) - 1; n >= 0; n-- {
		id[n]--
		if id[n] != 0xff {
			break
		}
	}
	return id
}
