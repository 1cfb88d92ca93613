package rights

import (
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
)

//go:embed summary.html
var page string

// summaryPage escapes whatever stands in a chart: narrative of a resource is never taken over as markup.
var summaryPage = template.Must(template.New("summary").Parse(page))

// summary gathers what a person can read of a chart, in plain words.
type summary struct {
	Made               string
	Name, Born         string
	Sections           []*section
	Omitted            []string
	Requests           []asked
	Disclosures        []line
	DisclosuresOmitted bool
}

type section struct {
	Title string
	Lines []line

	resourceType string
}

// line is one resource: when, what, and what came of it.
type line struct{ When, What, Detail, Status string }

type asked struct {
	When, What, State, Reason string
	Statements                []string
}

func newSummary(now time.Time) *summary {
	return &summary{Made: now.Format("2 January 2006, 15:04 UTC")}
}

// titles are the types in plain words; others keep their name.
var titles = map[string]string{
	"AllergyIntolerance": "Allergies", "Appointment": "Appointments", "CarePlan": "Care plans", "CareTeam": "Care teams",
	"Claim": "Bills", "Condition": "Diagnoses and problems", "Coverage": "Insurance", "DiagnosticReport": "Reports",
	"DocumentReference": "Notes and documents", "Encounter": "Visits", "ExplanationOfBenefit": "Payments", "Goal": "Goals",
	"ImagingStudy": "Images", "Immunization": "Vaccinations", "MedicationRequest": "Prescriptions", "Observation": "Measurements and findings",
	"Patient": "About you", "Procedure": "Procedures",
}

// Where the types say what they are about, when it was, and what came of it, in gjson's syntax.
var (
	whats = []string{
		"code.text", "code.coding.0.display", "medicationCodeableConcept.text", "medicationCodeableConcept.coding.0.display",
		"vaccineCode.text", "vaccineCode.coding.0.display", "description", "title", "type.text", "type.0.text", "type.coding.0.display",
		"type.0.coding.0.display", "serviceType.text", "category.0.text", "category.0.coding.0.display", "class.display",
	}
	whens = []string{
		"effectiveDateTime", "effectivePeriod.start", "onsetDateTime", "performedDateTime", "performedPeriod.start", "occurrenceDateTime",
		"authoredOn", "start", "period.start", "billablePeriod.start", "recordedDate", "date", "issued", "created", "started",
	}
	details = []string{
		"valueString", "valueCodeableConcept.text", "valueCodeableConcept.coding.0.display", "conclusion", "comment", "note.0.text",
		"dosageInstruction.0.text", "reasonCode.0.text", "reasonCode.0.coding.0.display",
	}
	statuses = []string{"status", "clinicalStatus.coding.0.code", "lifecycleStatus"}
)

func first(doc []byte, paths []string) string {
	for _, path := range paths {
		if v := gjson.GetBytes(doc, path); v.Exists() && v.String() != "" {
			return v.String()
		}
	}
	return ""
}

func (s *summary) add(d chart.Document) {
	if len(s.Sections) == 0 || s.Sections[len(s.Sections)-1].resourceType != d.Type {
		title, ok := titles[d.Type]
		if !ok {
			title = d.Type
		}
		s.Sections = append(s.Sections, &section{Title: title, resourceType: d.Type})
	}
	at := s.Sections[len(s.Sections)-1]
	if d.Type == "Patient" {
		s.person(d.JSON)
		at.Lines = append(at.Lines, aboutPerson(d.JSON)...)
		return
	}
	l := line{When: first(d.JSON, whens), What: first(d.JSON, whats), Detail: detail(d.JSON), Status: first(d.JSON, statuses)}
	if l.What == "" {
		l.What = "(no title)"
	}
	at.Lines = append(at.Lines, l)
}

func detail(doc []byte) string {
	if q := gjson.GetBytes(doc, "valueQuantity"); q.Exists() {
		return strings.TrimSpace(q.Get("value").Raw + " " + q.Get("unit").String())
	}
	for _, a := range gjson.GetBytes(doc, "content.#.attachment").Array() {
		if strings.HasPrefix(a.Get("contentType").String(), "text/plain") {
			if text, err := base64.StdEncoding.DecodeString(a.Get("data").String()); err == nil {
				return string(text)
			}
		}
	}
	return first(doc, details)
}

func (s *summary) person(doc []byte) {
	name := gjson.GetBytes(doc, "name.0")
	given := make([]string, 0, 2)
	for _, g := range name.Get("given").Array() {
		given = append(given, g.String())
	}
	s.Name = strings.TrimSpace(strings.Join(given, " ") + " " + name.Get("family").String())
	s.Born = gjson.GetBytes(doc, "birthDate").String()
}

func aboutPerson(doc []byte) []line {
	var out []line
	for _, t := range gjson.GetBytes(doc, "telecom").Array() {
		out = append(out, line{What: t.Get("system").String(), Detail: t.Get("value").String(), Status: t.Get("use").String()})
	}
	for _, t := range gjson.GetBytes(doc, "address").Array() {
		parts := make([]string, 0, 5)
		for _, l := range t.Get("line").Array() {
			parts = append(parts, l.String())
		}
		parts = append(parts, t.Get("city").String(), t.Get("state").String(), t.Get("postalCode").String(), t.Get("country").String())
		out = append(out, line{What: "address", Detail: strings.Join(parts, ", ")})
	}
	for _, t := range gjson.GetBytes(doc, "identifier").Array() {
		out = append(out, line{What: "number", Detail: t.Get("value").String(), Status: t.Get("type.text").String()})
	}
	return out
}

func (s *summary) write(out io.Writer, k kept, omitted []string) error {
	s.Omitted = omitted
	for _, m := range k.requests {
		a := asked{
			When: m.GetReceiveTime().AsTime().Format(time.DateOnly), What: words(m.GetKind().String(), "RIGHTS_KIND_"),
			State: words(m.GetState().String(), "RIGHTS_STATE_"), Reason: m.GetDecision().GetReason(),
		}
		for _, t := range m.GetStatements() {
			a.Statements = append(a.Statements, t.GetText())
		}
		s.Requests = append(s.Requests, a)
	}
	s.DisclosuresOmitted = k.accounting == nil
	for _, e := range k.accounting.GetEntries() {
		s.Disclosures = append(s.Disclosures, shownEntry(e))
	}
	return summaryPage.Execute(out, s)
}

func shownEntry(e *recordsv1.AccountingEntry) line {
	return line{
		When: e.GetDiscloseTime().AsTime().Format(time.DateOnly), What: strings.TrimSuffix(e.GetRecipient()+", "+e.GetRecipientAddress(), ", "),
		Detail: e.GetDescription(), Status: e.GetPurpose(),
	}
}

// words makes a name of an enum readable.
func words(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", " "))
}
