package fhir

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/errs"
)

// MaxAppointment is the longest time that an appointment may take.
const MaxAppointment = 24 * time.Hour

// Occupancy is when an appointment is and whose time it takes. Without times it is zero.
type Occupancy struct {
	Start, End time.Time
	Doctors    []uuid.UUID
	// Holds is true where the appointment keeps the doctors from taking another.
	Holds bool
}

// holding are the statuses that take a doctor's time. Proposed and waitlisted
// appointments are nobody's yet; cancelled, noshow and entered-in-error set it free.
var holding = set(`pending booked arrived fulfilled checked-in`)

// OccupancyOf reads an Appointment, whoever wrote it.
func OccupancyOf(doc []byte) (Occupancy, error) {
	root := gjson.ParseBytes(doc)
	start, end := parseTime(root.Get("start").String()), parseTime(root.Get("end").String())
	if start == nil || end == nil {
		return Occupancy{}, nil
	}
	o := Occupancy{Start: start.AsTime(), End: end.AsTime(), Holds: holding[root.Get("status").Str]}
	switch {
	case !o.End.After(o.Start):
		return Occupancy{}, invalid("end_time", "must lie after start_time")
	case o.End.Sub(o.Start) > MaxAppointment:
		return Occupancy{}, errs.New(errs.KindInvalid, "APPOINTMENT_TOO_LONG", "An appointment takes at most 24 hours: make several, one for each day.").
			WithField("end_time", "lies more than 24 hours after start_time")
	}
	each(root.Get("participant"), func(p gjson.Result) {
		doctor, ok := doctorOf(p)
		if ok && p.Get("status").Str != "declined" && !slices.Contains(o.Doctors, doctor) {
			o.Doctors = append(o.Doctors, doctor)
		}
	})
	return o, nil
}

// doctorOf reads a participant who is a user of the practice, or a Practitioner of its directory.
func doctorOf(participant gjson.Result) (uuid.UUID, bool) {
	if rest, ok := strings.CutPrefix(participant.Get("actor.reference").Str, "Practitioner/"); ok {
		return ParseUUID(rest)
	}
	return userOf(participant)
}
