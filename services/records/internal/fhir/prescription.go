package fhir

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const medicine = "medicationCodeableConcept"

// PrescriptionView reads a MedicationRequest.
func PrescriptionView(doc []byte) *recordsv1.Prescription {
	root := gjson.ParseBytes(doc)
	concept := root.Get(medicine)
	return &recordsv1.Prescription{
		Medication: first(concept.Get("text"), concept.Get("coding.0.display"), root.Get("medicationReference.display")),
		CodeSystem: concept.Get("coding.0.system").String(),
		Code:       concept.Get("coding.0.code").String(),
		Dosage:     root.Get("dosageInstruction.0.text").String(),
		Status:     root.Get("status").String(),
		AuthorTime: parseTime(root.Get("authoredOn").String()),
	}
}

// NewPrescription writes a MedicationRequest for a view: an active order unless
// the view says otherwise.
func NewPrescription(id, patient uuid.UUID, p *recordsv1.Prescription, now time.Time) ([]byte, error) {
	if p.Medication == "" && p.Code == "" {
		return nil, invalid("medication", "a prescription names its medicine: set medication, or code and code_system")
	}
	fields, err := Fields(p, nil)
	if err != nil {
		return nil, err
	}
	skeleton := fmt.Appendf(nil, `{"resourceType":"MedicationRequest","id":"%s","status":"active","intent":"order",`+
		`"subject":{"reference":"Patient/%s"},"authoredOn":%q}`, id, patient, formatTime(now))
	return PatchPrescription(skeleton, p, fields)
}

// PatchPrescription changes the named fields of a MedicationRequest.
func PatchPrescription(doc []byte, p *recordsv1.Prescription, fields []string) ([]byte, error) {
	e := &edit{doc: slices.Clone(doc)}
	for _, field := range fields {
		switch field {
		case "medication":
			e.setOrRemove(medicine+".text", p.Medication)
			if p.Medication == "" { // the view falls back to it
				e.remove(medicine + ".coding.0.display")
			}
		case "code_system":
			e.setOrRemove(medicine+".coding.0.system", p.CodeSystem)
		case "code":
			e.remove(medicine + ".coding.0.display") // of the former code
			e.setOrRemove(medicine+".coding.0.code", p.Code)
		case "dosage":
			e.setOrRemove("dosageInstruction.0.text", p.Dosage)
		case "author_time":
			if p.AuthorTime == nil {
				e.remove("authoredOn")
			} else {
				e.set("authoredOn", formatTime(p.AuthorTime.AsTime()))
			}
		case "status":
			if p.Status == "" {
				return nil, invalid("status", "a prescription must have a status; name one, such as active or stopped")
			}
			e.set("status", p.Status)
		}
	}
	// medication[x] is a choice: a concept takes the place of a reference.
	switch {
	case e.get(medicine).Exists():
		e.remove("medicationReference")
	case !e.get("medicationReference").Exists():
		return nil, invalid("medication", "a prescription names its medicine: it cannot lose both medication and code")
	}
	return e.doc, e.err
}
