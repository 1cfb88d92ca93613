package chart

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// The calendar divides time into steps: short ones for a doctor, so that appointments of five
// minutes and more can follow each other, and longer ones for the practice as a whole, which keeps its days
// small. Zones differ by quarters of an hour, so both make up any day of any zone.
const (
	DoctorStep   = 5 * time.Minute
	PracticeStep = 15 * time.Minute
)

// The names of the two indexes of time, under the index key of the practice.
const (
	slots    = "slot"
	calendar = "calendar"
)

// ErrTaken says that the doctor has no time for the appointment.
var ErrTaken = errs.New(errs.KindExists, "SLOT_TAKEN", "The doctor has another appointment at that time: list the free slots, and book one of them.").
	WithField("start_time", "is taken")

// Bookings are the places in the calendar of a document that is to be stored; every writer of
// documents passes them to store.Occupy with the document. Only an Appointment has any. What is over holds
// nobody's time: a history with double bookings can be brought in.
func Bookings(practice *keys.Practice, row store.Document, doc []byte, now time.Time) ([]store.Booking, error) {
	if row.Type != fhir.TypeAppointment {
		return nil, nil
	}
	o, err := fhir.OccupancyOf(doc)
	if err != nil {
		return nil, err
	}
	b := store.Booking{Document: row}
	if o.Start.IsZero() {
		return []store.Booking{b}, nil
	}
	holds := o.Holds && o.End.After(now)
	for _, token := range calendarTokens(practice, o.Start, o.End) {
		b.Cells = append(b.Cells, store.Cell{Token: token})
	}
	for _, doctor := range o.Doctors {
		for _, token := range doctorTokens(practice, doctor, o.Start, o.End) {
			b.Cells = append(b.Cells, store.Cell{Token: token, Holds: holds})
		}
	}
	return []store.Booking{b}, nil
}

// Taken returns the appointments of which somebody else holds the time.
func Taken(bookings []store.Booking, stored []store.Occupied) []uuid.UUID {
	got := make(map[uuid.UUID]int, len(stored))
	for _, o := range stored {
		got[o.Appointment] = o.Cells
	}
	var out []uuid.UUID
	for _, b := range bookings {
		if got[b.Document.ID] < len(b.Cells) {
			out = append(out, b.Document.ID)
		}
	}
	return out
}

func doctorTokens(practice *keys.Practice, doctor uuid.UUID, start, end time.Time) [][]byte {
	return steps(start, end, DoctorStep, func(n string) []byte {
		return practice.Index.Token(slots, doctor.String(), n)
	})
}

func calendarTokens(practice *keys.Practice, start, end time.Time) [][]byte {
	return steps(start, end, PracticeStep, func(n string) []byte { return practice.Index.Token(calendar, n) })
}

// steps makes a token for every step that the time touches.
func steps(start, end time.Time, step time.Duration, token func(n string) []byte) [][]byte {
	size, last := step.Microseconds(), end.Add(time.Microsecond-1).UnixMicro()
	var out [][]byte
	for n := floor(start.UnixMicro(), size); n*size < last; n++ {
		out = append(out, token(strconv.FormatInt(n, 10)))
	}
	return out
}

func floor(a, b int64) int64 {
	q := a / b
	if a < 0 && a%b != 0 {
		q--
	}
	return q
}
