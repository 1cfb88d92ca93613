package validate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// with puts members into a good Observation.
func with(members string) string {
	return `{"resourceType":"Observation","status":"final","code":{"text":"c"}` + members + `}`
}

// Each issue names the element, says what to change, and repeats nothing of the document.
func TestIssues(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]validate.Issue{
		`{"resourceType":"Observation","status":"final"}`:                                                   {Path: "Observation.code", Reason: validate.ReasonMissing, Text: "requires"},
		`{"resourceType":"Observation","code":{"text":"c"}}`:                                                {Path: "Observation.status", Reason: validate.ReasonMissing, Text: "requires"},
		`{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"display":"x"}}`: {Path: "MedicationRequest.medication[x]", Reason: validate.ReasonMissing, Text: "requires"},
		`{"resourceType":"Patient"}`:                                                                        {Path: "Observation", Reason: validate.ReasonType, Text: "another one"},
		`{"status":"final","code":{"text":"c"}}`:                                                            {Path: "Observation", Reason: validate.ReasonType, Text: "missing"},
		`[]`:                                                                                                {Path: "Observation", Reason: validate.ReasonShape, Text: "object"},
		with(`,"status2":"secret"`):                                                                         {Path: "Observation", Reason: validate.ReasonUnknown, Text: "the 4. one"},
		with(`,"birthDate":"1970"`):                                                                         {Path: "Observation", Reason: validate.ReasonUnknown, Text: "no element birthDate"},
		with(`,"subject":[]`):                                                                               {Path: "Observation.subject", Reason: validate.ReasonShape, Text: "an object"},
		with(`,"subject":{}`):                                                                               {Path: "Observation.subject", Reason: validate.ReasonShape, Text: "empty"},
		with(`,"category":{}`):                                                                              {Path: "Observation.category", Reason: validate.ReasonShape, Text: "a list"},
		with(`,"category":[]`):                                                                              {Path: "Observation.category", Reason: validate.ReasonShape, Text: "empty list"},
		with(`,"valueString":"a","valueInteger":1`):                                                         {Path: "Observation", Reason: validate.ReasonChoice, Text: "valueString and valueInteger"},
		with(`,"_valueString":{"id":"a"},"valueInteger":1`):                                                 {Path: "Observation", Reason: validate.ReasonChoice, Text: "valueString and valueInteger"},
		with(`,"valueInteger":1.5`):                                                                         {Path: "Observation.valueInteger", Reason: validate.ReasonValue, Text: "32 bits"},
		with(`,"valueInteger":"1"`):                                                                         {Path: "Observation.valueInteger", Reason: validate.ReasonShape, Text: "a number"},
		with(`,"valueBoolean":"true"`):                                                                      {Path: "Observation.valueBoolean", Reason: validate.ReasonShape, Text: "true or false"},
		with(`,"valueString":""`):                                                                           {Path: "Observation.valueString", Reason: validate.ReasonValue, Text: "not empty"},
		with(`,"valueString":null`):                                                                         {Path: "Observation.valueString", Reason: validate.ReasonShape, Text: "null"},
		with(`,"effectiveDateTime":"2025-02-29"`):                                                           {Path: "Observation.effectiveDateTime", Reason: validate.ReasonValue, Text: "YYYY"},
		with(`,"effectiveDateTime":"2025-02-28T10:00:00"`):                                                  {Path: "Observation.effectiveDateTime", Reason: validate.ReasonValue, Text: "zone"},
		with(`,"note":[{"text":"a"},{"text":"b","colour":1}]`):                                              {Path: "Observation.note[1]", Reason: validate.ReasonUnknown, Text: "the 2. one"},
		with(`,"note":[{"time":"2020"}]`):                                                                   {Path: "Observation.note[0].text", Reason: validate.ReasonMissing, Text: "requires"},
		with(`,"text":{"status":"made","div":"<div/>"}`):                                                    {Path: "Observation.text.status", Reason: validate.ReasonValue, Text: "generated, extensions, additional, empty"},
		with(`,"contained":[{"resourceType":"Nothing"}]`):                                                   {Path: "Observation.contained[0]", Reason: validate.ReasonType, Text: "no resource"},
		with(`,"contained":[{"resourceType":"Patient","contained":[{"resourceType":"Patient"}]}]`): {Path: "Observation.contained[0].contained[0]", Reason: validate.ReasonUnknown, Text: "contain"},
		with(`,"contained":[{"resourceType":"Patient","gender":"m"}]`):                             {Path: "Observation.contained[0].gender", Reason: validate.ReasonValue, Text: "male, female"},
		with(`,"subject":{"reference":"#p"}`):                                                      {Path: "Observation.subject.reference", Reason: validate.ReasonReference, Text: "not there"},
		with(`,"subject":{"reference":"Martian/1"}`):                                               {Path: "Observation.subject.reference", Reason: validate.ReasonReference, Text: "Type/id"},
		with(`,"subject":{"reference":"Patient/1/x"}`):                                             {Path: "Observation.subject.reference", Reason: validate.ReasonReference, Text: "Type/id"},
		with(`,"subject":{"reference":"javascript:x"}`):                                            {Path: "Observation.subject.reference", Reason: validate.ReasonReference, Text: "Type/id"},
		with(`,"subject":{"reference":"https://u:p@x/Patient/1"}`):                                 {Path: "Observation.subject.reference", Reason: validate.ReasonReference, Text: "Type/id"},
		with(`,"extension":[{"valueString":"x"}]`):                                                 {Path: "Observation.extension[0].url", Reason: validate.ReasonMissing, Text: "requires"},
		with(`,"_status":{"value":1}`):                                                             {Path: "Observation.status", Reason: validate.ReasonUnknown, Text: "no element value"},
		with(`,"valueQuantity":{"value":1e999}`):                                                   {Path: "Observation.valueQuantity.value", Reason: strictjson.ReasonNumber, Text: "exponent"},
		with(`,"valueString":"\ud800"`):                                                            {Path: "Observation.valueString", Reason: strictjson.ReasonText, Text: "surrogate"},
		with(`,"code":{"text":"d"}`):                                                               {Path: "Observation", Reason: strictjson.ReasonDuplicate, Text: "twice"},
		with(`,"valueString":"x"`) + "x":                                                           {Path: "Observation", Reason: strictjson.ReasonMalformed, Text: "after the end"},
		with(``)[:20]:                                                                              {Path: "Observation", Reason: strictjson.ReasonMalformed, Text: ""},
	} {
		issues := validate.Resource("Observation", []byte(doc)).Issues
		if strings.Contains(doc, `"MedicationRequest"`) {
			issues = validate.Resource("MedicationRequest", []byte(doc)).Issues
		}
		found := false
		for _, i := range issues {
			found = found || i.Path == want.Path && i.Reason == want.Reason && strings.Contains(i.Text, want.Text)
			for _, value := range []string{"status2", "secret", "Martian", "1970", "colour", "1e999", "javascript", "made", "Nothing"} {
				require.NotContains(t, i.String(), value)
			}
		}
		require.True(t, found, "%s: %v", doc, issues)
	}
	require.Equal(t, validate.ReasonType, validate.Resource("Martian", []byte(`{}`)).Issues[0].Reason)
}

func TestWhatIsTaken(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		with(`,"_status":{"extension":[{"url":"urn:x","valueCode":"y"}]}`),
		strings.Replace(with(""), `"status":"final"`, `"_status":{"extension":[{"url":"urn:x","valueCode":"unknown"}]}`, 1),
		with(`,"valueQuantity":{"value":1.500000000000000000000000001,"comparator":"<"}`),
		with(`,"contained":[{"resourceType":"Patient","id":"p","name":[{"family":"x"}]}],"subject":{"reference":"#p"}`),
		with(`,"subject":{"reference":"Patient/1/_history/2"},"performer":[{"reference":"https://x.example/fhir/Practitioner/1"},{"reference":"urn:uuid:0d6ce1f8-3d06-4b4c-b0ac-0d3b8b1d3d7e"},{"reference":"urn:oid:1.2.3"}]`),
		with(`,"effectiveDateTime":"2024-02-29T23:59:60.5+14:00","issued":"2024-02-29T00:00:00Z"`),
	} {
		require.Empty(t, validate.Resource("Observation", []byte(doc)).Issues, doc)
	}
	for given, good := range map[string]bool{
		`"given":["A",null],"_given":[null,{"id":"x"}]`: true,
		`"given":["A",null]`:                            false,
		`"given":["A",null],"_given":[null,null]`:       false,
		`"_given":[null,{"id":"x"}]`:                    false,
	} {
		issues := validate.Resource("Patient", fmt.Appendf(nil, `{"resourceType":"Patient","name":[{%s}]}`, given)).Issues
		require.Equal(t, good, len(issues) == 0, given)
	}
}

// A resource may be about nobody else than the patient in whose chart it stands,
// but where R4 has an element for another one.
func TestOtherPatients(t *testing.T) {
	t.Parallel()
	ours := func(ref string) bool { return ref == "Patient/ours" }
	for doc, path := range map[string]string{
		with(`,"subject":{"reference":"Patient/ours"},"performer":[{"reference":"Patient/theirs"}]`):                                        "Observation.performer[0].reference",
		with(`,"subject":{"reference":"Patient/ours"},"extension":[{"url":"urn:x","valueReference":{"reference":"Patient/theirs"}}]`):       "Observation.extension[0].valueReference.reference",
		with(`,"contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/theirs"}}]`):                               "Observation.contained[0].subject.reference",
		`{"resourceType":"Patient","link":[{"other":{"reference":"Patient/theirs"},"type":"seealso"}]}`:                                     "",
		`{"resourceType":"Coverage","status":"active","beneficiary":{"reference":"Patient/ours"},"payor":[{"reference":"Patient/theirs"}]}`: "",
	} {
		report := validate.Resource(typeOf([]byte(doc)), []byte(doc))
		require.Empty(t, report.Issues)
		err := report.Chart(ours)
		if path == "" {
			require.NoError(t, err, doc)
			continue
		}
		require.Equal(t, validate.ReasonPatient, errs.ReasonOf(err), doc)
		require.Equal(t, path, report.InChart(ours)[0].Path)
		require.NotContains(t, err.Error(), "theirs")
	}
}

const visa = "4111111111111111"

func TestDX26_CardNumbersInResourcesAreRefused(t *testing.T) {
	t.Parallel()
	for doc, path := range map[string]string{
		with(`,"note":[{"text":"Visa 4111 1111 1111 1111, exp. 12/29"}]`):                                  "Observation.note[0].text",
		with(`,"valueString":"` + visa + `"`):                                                              "Observation.valueString",
		with(`,"valueString":"\u0034111-1111-1111-1111"`):                                                  "Observation.valueString",
		with(`,"extension":[{"url":"urn:x","valueMarkdown":"*` + visa + `*"}]`):                            "Observation.extension[0].valueMarkdown",
		with(`,"text":{"status":"generated","div":"<div>4111<b>1111</b>1111&#49;111</div>"}`):              "Observation.text.div",
		with(`,"valueQuantity":{"value":` + visa + `}`):                                                    "Observation.valueQuantity.value",
		with(`,"contained":[{"resourceType":"Patient","name":[{"family":"x","given":["` + visa + `"]}]}]`): "Observation.contained[0].name[0].given[0]",
		with(`,"identifier":[{"value":"4111 1111 1111 1111"}]`):                                            "Observation.identifier[0].value",
		with(`,"method":{"coding":[{"code":"4111-1111-1111-1111"}]}`):                                      "Observation.method.coding[0].code",
		`{"resourceType":"Patient","telecom":[{"system":"phone","value":"` + visa + `"}]}`:                 "Patient.telecom[0].value",
		`{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"contentType":"text/plain; charset=utf-8","data":"cGFpZCB3aXRoIDQxMTEgMTExMSAxMTExIDExMTE="}}]}`: "DocumentReference.content[0].attachment",
	} {
		issues := validate.Resource(typeOf([]byte(doc)), []byte(doc)).Issues
		require.Len(t, issues, 1, doc)
		require.Equal(t, path, issues[0].Path)
		require.Equal(t, validate.ReasonCard, issues[0].Reason)
		require.NotContains(t, issues[0].String(), "1111")
	}
	for _, doc := range []string{
		with(`,"identifier":[{"system":"urn:x","value":"` + visa + `"}]`), // a record number may be that
		with(`,"valueQuantity":{"value":4.111111111111111}`),
		`{"resourceType":"Device","udiCarrier":[{"deviceIdentifier":"36227206271667"}],"serialNumber":"` + visa + `"}`,
		`{"resourceType":"Patient","telecom":[{"system":"phone","value":"+4222222222222"}]}`,
	} {
		require.Empty(t, validate.Resource(typeOf([]byte(doc)), []byte(doc)).Issues, doc)
	}
}

func TestDX01_RecordingsAreRefused(t *testing.T) {
	t.Parallel()
	content := func(attachment string) string {
		return `{"resourceType":"Media","status":"completed","content":{` + attachment + `}}`
	}
	for _, attachment := range []string{
		`"contentType":"audio/mpeg"`, `"contentType":"Video/MP4"`, `"contentType":"video/mp4; codecs=\"avc1\""`, `"contentType":"application/ogg"`,
		`"contentType":"image/png","data":"AAAAGGZ0eXBtcDQyAAAAAGlzb21tcDQy"`, // an MP4 file's first bytes
		`"data":"SUQzAwAAAAAAAA=="`, // MP3
	} {
		issues := validate.Resource("Media", []byte(content(attachment))).Issues
		require.Len(t, issues, 1, attachment)
		require.Equal(t, validate.ReasonMedia, issues[0].Reason)
		require.Equal(t, "Media.content", issues[0].Path)
	}
	for _, attachment := range []string{`"contentType":"image/png","data":"iVBORw0KGgo="`, `"contentType":"application/pdf","url":"Binary/1"`} {
		require.Empty(t, validate.Resource("Media", []byte(content(attachment))).Issues)
	}
	require.Equal(t, validate.ReasonMedia, validate.Resource("Binary", []byte(`{"resourceType":"Binary","contentType":"video/webm"}`)).Issues[0].Reason)
}
