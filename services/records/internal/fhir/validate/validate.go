// Package validate checks a resource before it is stored: its JSON, its form as FHIR
// R4 defines it, and what must not come in whatever its form. It goes through the
// bytes once and changes none. Profiles, terminologies and FHIRPath constraints are not its business.
package validate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// MaxBytes is the most that one resource may have. It is what an import takes too.
const MaxBytes = 4 << 20

// Reasons of an Issue, beside those of package strictjson.
const (
	ReasonType      = "TYPE_UNKNOWN"      // R4 has no such resource type, or another one is expected
	ReasonUnknown   = "ELEMENT_UNKNOWN"   // R4 has no such element here
	ReasonShape     = "ELEMENT_SHAPE"     // a list, an object, a string … is expected
	ReasonMissing   = "ELEMENT_MISSING"   // R4 requires it
	ReasonChoice    = "ELEMENT_CHOICE"    // two types of a choice
	ReasonValue     = "VALUE_INVALID"     // not of the element's type
	ReasonReference = "REFERENCE_INVALID" // names nothing that can be
	ReasonCard      = "CARD_NUMBER"
	ReasonMedia     = "MEDIA_REFUSED"
	ReasonPatient   = "OTHER_PATIENT" // names a patient whose chart it is not
)

// Issue is one thing that is wrong. It holds nothing of the document but names
// that R4 defines, and positions.
type Issue struct {
	Path   string // such as Patient.name[0].given[1]
	Reason string
	Text   string // what to change
}

// Report is what a check found.
type Report struct {
	Issues []Issue // the first ones; empty where the resource is good
	// Patients are the literal references that may name a patient.
	Patients []PatientReference
}

// PatientReference is a reference that may name a patient.
type PatientReference struct {
	Path      string
	Reference string
	// Open is true where R4 has the element for other patients too.
	Open bool
}

// maxIssues is how many issues are told at once.
const maxIssues = 10

// Resource checks a document that is to be stored as a resource of a type.
func Resource(resourceType string, doc []byte) Report {
	c := &checker{path: []step{{name: resourceType, index: -1}}}
	t := types()[resourceType]
	if t == nil || !t.resource {
		c.path = nil
		c.issue(ReasonType, "FHIR R4 has no resource of this resourceType")
		return c.report
	}
	r, err := strictjson.NewReader(doc, MaxBytes)
	if err == nil {
		c.r = r
		err = c.resource(t)
	}
	if err == nil {
		err = c.r.End()
	}
	var fault *strictjson.Fault
	if errors.As(err, &fault) {
		c.issueAt(fault.Reason, fault.Text, true)
		return c.report
	}
	c.fragments(doc)
	return c.report
}

// Chart is the report as an error for a client; nil where a resource may be stored
// in a chart. same is that of InChart. The first issue's reason is the error's.
func (r Report) Chart(same func(reference string) bool) error {
	issues := append(r.Issues, r.InChart(same)...)
	if len(issues) == 0 {
		return nil
	}
	err := errs.New(errs.KindInvalid, issues[0].Reason, "The resource is not taken: "+issues[0].String()+".")
	for _, i := range issues {
		err = err.WithField(i.Path, i.Text)
	}
	return err
}

// String says in one sentence what to change.
func (i Issue) String() string {
	if i.Path == "" {
		return i.Text
	}
	return i.Path + ": " + i.Text
}

// checker goes through one document.
type checker struct {
	r         *strictjson.Reader
	path      []step
	contained int // how many contained resources are open
	local     []PatientReference
	report    Report
}

// step is an element on the way down; index is -1 where it is no item of a list.
type step struct {
	name  string
	index int
}

func (c *checker) where() string {
	var b strings.Builder
	for i, s := range c.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			fmt.Fprintf(&b, "[%d]", s.index)
		}
	}
	return b.String()
}

// parent is the path of the element around this one, without indices.
func (c *checker) parent() string {
	names := make([]string, len(c.path)-1)
	for i := range names {
		names[i] = c.path[i].name
	}
	return strings.Join(names, ".")
}

func (c *checker) issue(reason, text string) { c.issueAt(reason, text, false) }

// issueAt takes an issue down; a fault, after which nothing more is read, always.
func (c *checker) issueAt(reason, text string, always bool) {
	if len(c.report.Issues) < maxIssues || always {
		c.report.Issues = append(c.report.Issues, Issue{Path: c.where(), Reason: reason, Text: text})
	}
}

// under runs check one element further down.
func (c *checker) under(name string, check func() error) error {
	c.path = append(c.path, step{name: name, index: -1})
	err := check()
	if err == nil { // a fault keeps its place
		c.path = c.path[:len(c.path)-1]
	}
	return err
}

// known reports whether any type of R4 has an element of this name, so that it can
// be told without telling something of the document.
func known(name string) bool { return words()[strings.TrimPrefix(name, "_")] }

// unknown reads past an element that the type does not have.
func (c *checker) unknown(t *typ, key []byte, nth int) error {
	if name := string(key); known(name) {
		c.issue(ReasonUnknown, fmt.Sprintf("%s has no element %s in R4: leave it out, or make it an extension", t.name, name))
	} else {
		c.issue(ReasonUnknown, fmt.Sprintf("%s has an element here, the %d. one, that R4 does not know: leave it out, or make it an extension", t.name, nth))
	}
	return c.r.Skip()
}
