package generator

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	encounters    = 2
	conditions    = 2
	observations  = 5
	prescriptions = 2
)

// Resource is one entry of a bundle: the bytes that a store must give back.
type Resource struct {
	Type string
	ID   uuid.UUID
	JSON []byte
}

// Resources gives a patient's entries in the order in which Bundle writes them.
func Resources(f Facts) []Resource {
	// A stream of its own, so that a change here leaves the facts as they are.
	draw := rand.New(rand.NewPCG(^uint64(f.seed), uint64(f.Number)))
	visits := visitTimes(draw)
	out := make([]Resource, 0, PerPatient)
	add := func(kind string, id uuid.UUID, body string) {
		out = append(out, Resource{Type: kind, ID: id,
			JSON: fmt.Appendf(nil, `{"resourceType": "%s", "id": "%s", %s}`, kind, id, body)})
	}
	add("Patient", f.ID, patientBody(f))
	for n, id := range f.Encounters {
		add("Encounter", id, encounterBody(f, visits[n]))
	}
	for n, d := range draw.Perm(len(diagnoses))[:conditions] {
		add("Condition", f.Conditions[n], conditionBody(f, diagnoses[d], n, visits[n]))
	}
	for n, id := range f.Observations {
		value := measures[n].low + draw.Float64()*(measures[n].high-measures[n].low)
		add("Observation", id, observationBody(f, measures[n], value, n%encounters, visits[n%encounters]))
	}
	for n, id := range f.Prescriptions {
		add("MedicationRequest", id, prescriptionBody(f, n, visits[n]))
	}
	add("Appointment", f.Appointment, appointmentBody(f, draw))
	add("DocumentReference", f.Note, noteBody(f, visits[0]))
	return out
}

func visitTimes(draw *rand.Rand) [encounters]time.Time {
	var visits [encounters]time.Time
	at := time.Date(2021, 1, 4, 8, 0, 0, 0, time.UTC)
	for n := range visits {
		at = at.AddDate(0, 0, 1+draw.IntN(700)).Add(time.Duration(draw.IntN(18)) * 30 * time.Minute)
		visits[n] = at
	}
	return visits
}

func patientBody(f Facts) string {
	given := make([]string, len(f.GivenNames))
	for n, name := range f.GivenNames {
		given[n] = strconv.Quote(name)
	}
	return fmt.Sprintf(`"identifier": [{"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical Record Number"}]}, "system": %q, "value": %q}, `+
		`{"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "SS", "display": "Social Security Number"}]}, "system": %q, "value": %q}], `+
		`"active": true, "name": [{"use": "official", "family": %q, "given": [%s]}], `+
		`"telecom": [{"system": "phone", "value": %q, "use": "home"}], "gender": %q, "birthDate": %q, `+
		`"address": [{"use": "home", "line": [%q], "city": %q, "state": %q, "postalCode": %q, "country": "US"}]`,
		MRNSystem, f.MRN, SSNSystem, f.SSN, f.FamilyName, strings.Join(given, ", "),
		f.Phone, f.Gender, f.BirthDate, f.AddressLine, f.City, f.State, f.PostalCode)
}

func encounterBody(f Facts, at time.Time) string {
	return fmt.Sprintf(`"status": "finished", "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}, `+
		`"type": [{"coding": [{"system": "http://snomed.info/sct", "code": "185345009", "display": "Encounter for symptom"}]}], `+
		`"subject": {"reference": "urn:uuid:%s"}, "period": {"start": %q, "end": %q}`,
		f.ID, stamp(at), stamp(at.Add(20*time.Minute)))
}

func conditionBody(f Facts, d coded, n int, at time.Time) string {
	return fmt.Sprintf(`"clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}, `+
		`"code": {"coding": [{"system": "http://snomed.info/sct", "code": %q, "display": %q}], "text": %q}, `+
		`"subject": {"reference": "urn:uuid:%s"}, "encounter": {"reference": "urn:uuid:%s"}, "onsetDateTime": %q, "recordedDate": %q`,
		d.code, d.name, d.name, f.ID, f.Encounters[n], stamp(at.AddDate(0, 0, -3)), stamp(at))
}

func observationBody(f Facts, m measure, value float64, visit int, at time.Time) string {
	return fmt.Sprintf(`"status": "final", "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}], `+
		`"code": {"coding": [{"system": "http://loinc.org", "code": %q, "display": %q}], "text": %q}, `+
		`"subject": {"reference": "urn:uuid:%s"}, "encounter": {"reference": "urn:uuid:%s"}, "effectiveDateTime": %q, "issued": %q, `+
		`"valueQuantity": {"value": %.1f, "unit": %q, "system": "http://unitsofmeasure.org", "code": %q}`,
		m.code, m.name, m.name, f.ID, f.Encounters[visit], stamp(at), stamp(at), value, m.unit, m.unit)
}

func prescriptionBody(f Facts, n int, at time.Time) string {
	m := medicineNamed(f.Medications[n])
	return fmt.Sprintf(`"status": "active", "intent": "order", `+
		`"medicationCodeableConcept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": %q, "display": %q}], "text": %q}, `+
		`"subject": {"reference": "urn:uuid:%s"}, "encounter": {"reference": "urn:uuid:%s"}, "authoredOn": %q, `+
		`"reasonReference": [{"reference": "urn:uuid:%s"}], "dosageInstruction": [{"text": %q}]`,
		m.code, m.name, m.name, f.ID, f.Encounters[n], stamp(at), f.Conditions[n], m.dosage)
}

func appointmentBody(f Facts, draw *rand.Rand) string {
	at := time.Date(2027, 1, 4, 9, 0, 0, 0, time.UTC).AddDate(0, 0, draw.IntN(180)).Add(time.Duration(draw.IntN(16)) * 30 * time.Minute)
	return fmt.Sprintf(`"status": "booked", "reasonCode": [{"text": %q}], "start": %q, "end": %q, "minutesDuration": 30, `+
		`"participant": [{"actor": {"reference": "urn:uuid:%s"}, "status": "accepted"}]`,
		"Follow-up: "+strings.TrimPrefix(f.NoteTitle, "Visit for "), stamp(at), stamp(at.Add(30*time.Minute)), f.ID)
}

func noteBody(f Facts, at time.Time) string {
	return fmt.Sprintf(`"status": "current", "type": {"coding": [{"system": "http://loinc.org", "code": "11506-3", "display": "Progress note"}], "text": "Progress note"}, `+
		`"subject": {"reference": "urn:uuid:%s"}, "date": %q, "description": %q, `+
		`"content": [{"attachment": {"contentType": "text/plain; charset=utf-8", "data": %q, "title": %q}}], `+
		`"context": {"encounter": [{"reference": "urn:uuid:%s"}]}`,
		f.ID, stamp(at), f.NoteTitle, base64.StdEncoding.EncodeToString([]byte(f.NoteText)), f.NoteTitle, f.Encounters[0])
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05+00:00") }
