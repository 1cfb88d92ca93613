package intake

import (
	"slices"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/records/internal/bundle"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

var (
	errTimes = &refusal{bundle.ReasonMalformed, "An Appointment must end after it starts, and within 24 hours."}
	errSlot  = &refusal{reasonTaken, "The doctor has another appointment at that time: move or cancel one of the two."}
)

// taken are appointments of a batch for which a doctor has no time. It undoes the batch.
type taken []uuid.UUID

func (taken) Error() string { return reasonTaken }

// book finds the planned documents' places in the calendar. Of two of one batch that
// want the same time the first gets it.
func (r *run) book(b *batch) error {
	held := map[string]bool{}
	kept := b.plan.docs[:0]
	for _, d := range b.plan.docs {
		bookings, err := chart.Bookings(r.practice, d.row, d.item.json, r.now())
		if err != nil {
			return err
		}
		if clash(held, bookings) {
			b.refuse(d.item.index, errSlot)
			continue
		}
		kept = append(kept, d)
		b.plan.bookings = append(b.plan.bookings, bookings...)
	}
	b.plan.docs = kept
	return nil
}

// clash reports whether a cell is held, and holds them all where none is.
func clash(held map[string]bool, bookings []store.Booking) bool {
	for _, k := range bookings {
		if slices.ContainsFunc(k.Cells, func(c store.Cell) bool { return c.Holds && held[string(c.Token)] }) {
			return true
		}
		for _, c := range k.Cells {
			held[string(c.Token)] = held[string(c.Token)] || c.Holds
		}
	}
	return false
}

// without refuses the appointments that were taken, and returns all other items of the plan.
func (b *batch) without(list taken) (left []item) {
	for _, d := range slices.Concat(b.plan.docs, b.plan.unchanged) {
		if d.row.Type == fhir.TypeAppointment && slices.Contains(list, d.row.ID) {
			b.refuse(d.item.index, errSlot)
		} else {
			left = append(left, d.item)
		}
	}
	return left
}
