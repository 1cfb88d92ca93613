package fhir

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// A doctor of the practice is a logical reference in FHIR: an identifier whose
// system says that the value is a URI (R4, Identifier.system), here the user's UUID as a URN.
const (
	uriSystem  = "urn:ietf:rfc:3986"
	userPrefix = "users/"
)

// AppointmentView reads an Appointment.
func AppointmentView(doc []byte) *recordsv1.Appointment {
	root := gjson.ParseBytes(doc)
	_, practitioner := practitionerOf(root)
	return &recordsv1.Appointment{
		StartTime:    parseTime(root.Get("start").String()),
		EndTime:      parseTime(root.Get("end").String()),
		Status:       root.Get("status").String(),
		Practitioner: practitioner,
		Reason:       first(root.Get("reasonCode.0.text"), root.Get("reasonCode.0.coding.0.display"), root.Get("description")),
	}
}

// NewAppointment writes an Appointment for a view: booked where it has times,
// otherwise proposed.
func NewAppointment(id, patient uuid.UUID, a *recordsv1.Appointment) ([]byte, error) {
	fields, err := Fields(a, nil)
	if err != nil {
		return nil, err
	}
	status := "booked"
	if a.StartTime == nil {
		status = "proposed"
	}
	skeleton := fmt.Appendf(nil, `{"resourceType":"Appointment","id":"%s","status":%q,`+
		`"participant":[{"actor":{"reference":"Patient/%s"},"status":"accepted"}]}`, id, status, patient)
	return PatchAppointment(skeleton, a, fields)
}

// PatchAppointment changes the named fields of an Appointment.
func PatchAppointment(doc []byte, a *recordsv1.Appointment, fields []string) ([]byte, error) {
	e := &edit{doc: slices.Clone(doc)}
	for _, field := range fields {
		switch field {
		case "start_time":
			patchInstant(e, "start", a.StartTime)
		case "end_time":
			patchInstant(e, "end", a.EndTime)
		case "status":
			e.setOrRemove("status", a.Status)
		case "practitioner":
			if err := patchPractitioner(e, a.Practitioner); err != nil {
				return nil, err
			}
		case "reason":
			patchReason(e, a.Reason)
		}
	}
	if e.err != nil {
		return nil, e.err
	}
	return e.doc, checkAppointment(AppointmentView(e.doc))
}

// checkAppointment applies R4's rules app-2 to app-4.
func checkAppointment(a *recordsv1.Appointment) error {
	switch {
	case a.Status == "":
		return invalid("status", "an appointment must have a status; name one, such as booked")
	case (a.StartTime == nil) != (a.EndTime == nil):
		return invalid("end_time", "an appointment has both start_time and end_time, or neither")
	case a.StartTime == nil && !slices.Contains([]string{"proposed", "cancelled", "waitlist"}, a.Status):
		return invalid("start_time", "only a proposed or cancelled appointment may lack its times")
	case a.StartTime != nil && !a.EndTime.AsTime().After(a.StartTime.AsTime()):
		return invalid("end_time", "must lie after start_time")
	}
	return nil
}

func patchInstant(e *edit, path string, t *timestamppb.Timestamp) {
	if t == nil {
		e.remove(path)
		return
	}
	e.set(path, formatTime(t.AsTime()))
}

func patchReason(e *edit, reason string) {
	if reason == "" {
		e.remove("reasonCode")
		e.remove("description")
		return
	}
	e.set("reasonCode.0.text", reason)
}

func patchPractitioner(e *edit, name string) error {
	at, _ := practitionerOf(gjson.ParseBytes(e.doc))
	if name == "" {
		if at >= 0 {
			e.remove(fmt.Sprintf("participant.%d", at))
		}
		return nil
	}
	user, ok := strings.CutPrefix(name, userPrefix)
	id, valid := ParseUUID(user)
	if !ok || !valid {
		return invalid("practitioner", `must be "users/" and the user's UUID`)
	}
	path := "participant.-1"
	if at >= 0 {
		path = fmt.Sprintf("participant.%d", at)
	}
	e.setRaw(path, fmt.Appendf(nil, `{"actor":{"type":"Practitioner","identifier":{"system":%q,"value":"urn:uuid:%s"}},"status":"accepted"}`,
		uriSystem, id))
	return nil
}

// practitionerOf finds the participant who is a doctor of the practice; -1 where
// there is none.
func practitionerOf(root gjson.Result) (at int, name string) {
	at = -1
	for i, p := range root.Get("participant").Array() {
		if user, ok := userOf(p); ok {
			return i, userPrefix + user.String()
		}
	}
	return at, ""
}

// userOf reads a participant who is a doctor of the practice.
func userOf(participant gjson.Result) (uuid.UUID, bool) {
	id := participant.Get("actor.identifier")
	if participant.Get("actor.type").Str != "Practitioner" || id.Get("system").Str != uriSystem {
		return uuid.Nil, false
	}
	rest, _ := cutPrefixFold(id.Get("value").Str, urnUUID)
	return ParseUUID(rest)
}
