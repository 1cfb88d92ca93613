package validate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// forOthers are the elements that R4 has for a patient other than the one whom
// the resource is about: another record of the same person, and who pays.
var forOthers = map[string]bool{
	"Patient.link.other":               true,
	"Account.guarantor.party":          true,
	"Coverage.policyHolder":            true,
	"Coverage.subscriber":              true,
	"Coverage.payor":                   true,
	"Claim.payee.party":                true,
	"ExplanationOfBenefit.payee.party": true,
}

// reference checks what a literal reference can be (R4 2.3.0.1): part of this
// resource, relative, a URN, or on another server, which is left as it is.
func (c *checker) reference(ref string) {
	switch {
	case strings.HasPrefix(ref, "#"):
		c.local = append(c.local, PatientReference{Path: c.where(), Reference: ref[1:]})
		return
	case !names(ref):
		c.issue(ReasonReference, "must be Type/id of R4, an absolute URL, urn:uuid:…, urn:oid:…, or # and the id of a contained resource")
		return
	}
	if fhir.ParsePatientReference(ref).Kind != fhir.ReferenceOther {
		c.report.Patients = append(c.report.Patients, PatientReference{Path: c.where(), Reference: ref, Open: forOthers[c.parent()]})
	}
}

// names reports whether a reference can name something outside of the resource.
func names(ref string) bool {
	if _, isUUID := fhir.URN(ref); isUUID || oid.MatchString(ref) {
		return true
	}
	if strings.Contains(ref, ":") {
		u, err := url.Parse(ref)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
	}
	parts := strings.Split(ref, "/")
	return (len(parts) == 2 || len(parts) == 4 && parts[2] == "_history" && fhir.ValidID(parts[3])) &&
		definitions.IsResource(parts[0]) && fhir.ValidID(parts[1])
}

// fragments checks that the resource contains what its local references name.
// The empty one names the resource itself.
func (c *checker) fragments(doc []byte) {
	if len(c.local) == 0 {
		return
	}
	var ids []string
	for _, r := range gjson.GetBytes(doc, "contained").Array() {
		ids = append(ids, r.Get("id").Str)
	}
	for _, ref := range c.local {
		if ref.Reference != "" && !slices.Contains(ids, ref.Reference) && len(c.report.Issues) < maxIssues {
			c.report.Issues = append(c.report.Issues, Issue{ref.Path, ReasonReference, "names a contained resource that is not there"})
		}
	}
}

// InChart checks that a resource of one patient's chart names no other patient.
// same tells whether a reference may stand there: it names the patient, or nobody here.
func (r Report) InChart(same func(reference string) bool) []Issue {
	var out []Issue
	for _, p := range r.Patients {
		if !p.Open && !same(p.Reference) && len(out) < maxIssues {
			out = append(out, Issue{p.Path, ReasonPatient, "names another patient than the one whose chart this is: leave it out, or make it text"})
		}
	}
	return out
}
