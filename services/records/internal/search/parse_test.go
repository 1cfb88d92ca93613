package search

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

func parse(t testing.TB, resourceType, form string) (*Query, error) {
	t.Helper()
	values, err := url.ParseQuery(form)
	require.NoError(t, err, form)
	return Parse(resourceType, values)
}

func violations(t *testing.T, err error) []errs.Violation {
	t.Helper()
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	return e.Violations()
}

func plain(values ...string) (out []pair) {
	for _, v := range values {
		out = append(out, pair{value: v})
	}
	return out
}

// Each kind of parameter is read as R4 writes it: commas are alternatives, a parameter that stands again narrows, backslashes escape.
func TestEachKindOfParameterIsRead(t *testing.T) {
	t.Parallel()
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		resourceType, form string
		want               Query
	}{
		{"Patient", "_id=a,b.c&_id=d-1", Query{ids: [][]string{{"a", "b.c"}, {"d-1"}}}},
		{"Observation", "patient=Patient/a,b", Query{owners: [][]string{{"a", "b"}}}},
		{"Observation", "subject=Patient/a&patient=b", Query{owners: [][]string{{"b"}, {"a"}}}},
		{"Patient", `identifier=urn:s|A\,1,|b,c\|d`, Query{values: map[string][][]pair{
			"identifier": {{{system: "urn:s", value: "A,1"}, {value: "b"}, {any: true, value: "c|d"}}},
		}}},
		{"Patient", "phone=555 826 5697", Query{values: map[string][][]pair{"phone": {plain("555 826 5697")}}}},
		{"Patient", `email=a\\b@x.org,c@x.org`, Query{values: map[string][][]pair{"email": {plain(`a\b@x.org`, "c@x.org")}}}},
		{"Patient", "family=Smith&given=Ann,Sue&birthdate=eq1980-02-29", Query{values: map[string][][]pair{
			"family": {plain("Smith")}, "given": {plain("Ann", "Sue")}, "birthdate": {plain("1980-02-29")},
		}}},
		{"Patient", "phonetic=Smith&birthdate=1980-02-29", Query{values: map[string][][]pair{"phonetic": {plain("Smith")}, "birthdate": {plain("1980-02-29")}}}},
		{"Observation", "patient=a&code=http://loinc.org|29463-7,|own", Query{
			owners: [][]string{{"a"}},
			values: map[string][][]pair{"code": {{{system: "http://loinc.org", value: "29463-7"}, {value: "own"}}}},
		}},
		{"Immunization", "patient=a&vaccine-code=s|c", Query{owners: [][]string{{"a"}}, values: map[string][][]pair{"code": {{{system: "s", value: "c"}}}}}},
		{"Encounter", "patient=a&date=2026-03-01", Query{owners: [][]string{{"a"}}, values: map[string][][]pair{"date": {plain("2026-03-01")}}}},
		{"Patient", "_id=a&_lastUpdated=2026-03&_count=7&_sort=_lastUpdated", Query{
			Count: 7, oldest: true, ids: [][]string{{"a"}}, updated: [][]store.Span{{{From: day(2026, 3, 1), To: day(2026, 4, 1)}}},
		}},
		{"Practitioner", "_sort=-_lastUpdated", Query{}},
		{"Patient", "_page=token", Query{page: "token"}},
	} {
		got, err := parse(t, c.resourceType, c.form)
		require.NoError(t, err, c.form)
		c.want.Type, c.want.form, c.want.fresh = c.resourceType, got.form, got.fresh
		if c.want.Count == 0 {
			c.want.Count = DefaultCount
		}
		require.Equal(t, c.want, *got, c.form)
	}
}

func TestTimesMeanWhatTheirPrecisionSays(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		out, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return out.UTC()
	}
	for form, want := range map[string]store.Span{
		"2026":                      {From: at("2026-01-01T00:00:00Z"), To: at("2027-01-01T00:00:00Z")},
		"eq2026-02":                 {From: at("2026-02-01T00:00:00Z"), To: at("2026-03-01T00:00:00Z")},
		"2024-02-29":                {From: at("2024-02-29T00:00:00Z"), To: at("2024-03-01T00:00:00Z")},
		"2026-03-01T09:30":          {From: at("2026-03-01T09:30:00Z"), To: at("2026-03-01T09:31:00Z")},
		"2026-03-01T09:30:05":       {From: at("2026-03-01T09:30:05Z"), To: at("2026-03-01T09:30:06Z")},
		"2026-03-01T09:30:05+02:00": {From: at("2026-03-01T07:30:05Z"), To: at("2026-03-01T07:30:06Z")},
		"2026-03-01T09:30:05.1239Z": {From: at("2026-03-01T09:30:05.123Z"), To: at("2026-03-01T09:30:05.124Z")},
		"gt2026-03-01":              {From: at("2026-03-02T00:00:00Z"), To: end},
		"sa2026-03-01":              {From: at("2026-03-02T00:00:00Z"), To: end},
		"ge2026-03-01":              {From: at("2026-03-01T00:00:00Z"), To: end},
		"lt2026-03-01":              {From: begin, To: at("2026-03-01T00:00:00Z")},
		"eb2026-03-01":              {From: begin, To: at("2026-03-01T00:00:00Z")},
		"le2026-03-01":              {From: begin, To: at("2026-03-02T00:00:00Z")},
	} {
		q, err := parse(t, "Patient", "_id=a&_lastUpdated="+url.QueryEscape(form))
		require.NoError(t, err, form)
		require.Equal(t, [][]store.Span{{want}}, q.updated, form)
	}
}

// Every refusal has its reason, names the parameter and says what to change.
func TestEachRefusalNamesItsParameter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ resourceType, form, reason, field, says string }{
		{"StructureMap", "_id=a", ReasonUnsupported, "type", "patient compartment"},
		{"Patient", "name=x", ReasonUnsupported, "name", "is not supported for Patient"},
		{"Patient", "gender=female", ReasonUnsupported, "gender", "which is which"},
		{"Patient", "_has:Observation:patient:code=x", ReasonUnsupported, "_has", "reverse chaining"},
		{"Observation", "patient.name=x", ReasonUnsupported, "patient", "as a chain"},
		{"Observation", "patient:Patient.name=x", ReasonUnsupported, "patient", "as a chain"},
		{"Patient", "family:exact=x&birthdate=1980-02-29", ReasonUnsupported, "family", "modifier :exact"},
		{"Patient", "family:a b c=x", ReasonUnsupported, "family", "modifier :…"},
		{"Patient", "_id=a&x%20y=1", ReasonUnsupported, "(a parameter whose name is no parameter's)", "is not supported"},
		{"Patient", "_id=%ff", ReasonInvalid, "_id", "must be UTF-8"},
		{"Patient", "email=a%00", ReasonInvalid, "email", "zero bytes"},
		{"Patient", "_id=", ReasonInvalid, "_id", "is empty"},
		{"Patient", "_id=a,,b", ReasonInvalid, "_id", "is empty"},
		{"Patient", "_id=a_b", ReasonInvalid, "_id", "logical id"},
		{"Patient", "_id=" + strings.Repeat("a", 65), ReasonInvalid, "_id", "logical id"},
		{"Patient", "email=" + strings.Repeat("a,", 64) + "a", ReasonInvalid, "email", "more than 64 alternatives"},
		{"Observation", "patient=Practitioner/a", ReasonInvalid, "patient", "must be Patient/{id}"},
		{"Observation", "subject=https://other.example/Patient/a", ReasonInvalid, "subject", "must be Patient/{id}"},
		{"Patient", "identifier=a|b|c", ReasonInvalid, "identifier", "more than one |"},
		{"Patient", "identifier=urn:s|", ReasonInvalid, "identifier", "needs a value"},
		{"Patient", `identifier=a\b`, ReasonInvalid, "identifier", "backslash"},
		{"Patient", `phone=5\`, ReasonInvalid, "phone", "backslash"},
		{"Patient", "given=a&birthdate=1980-02-29", ReasonInvalid, "given", "needs family"},
		{"Patient", "family=a", ReasonInvalid, "family", "needs birthdate"},
		{"Patient", "phonetic=a", ReasonInvalid, "phonetic", "needs birthdate"},
		{"Patient", "birthdate=1980-02-29", ReasonInvalid, "birthdate", "needs family or phonetic"},
		{"Patient", "family=a&birthdate=1980-02", ReasonInvalid, "birthdate", "full date"},
		{"Patient", "family=a&birthdate=2023-02-29", ReasonInvalid, "birthdate", "full date"},
		{"Patient", "family=a&birthdate=gt1980-02-29", ReasonInvalid, "birthdate", "no prefix but eq"},
		{"Observation", "code=s|c", ReasonInvalid, "code", "needs patient or subject"},
		{"Observation", "patient=a&code=c", ReasonInvalid, "code", "system|code"},
		{"Immunization", "patient=a&code=s|c", ReasonUnsupported, "code", "is not supported"},
		{"Encounter", "date=2026-03-01", ReasonInvalid, "date", "needs patient or subject"},
		{"Encounter", "patient=a&date=2026", ReasonInvalid, "date", "full date"},
		{"Patient", "_id=a&_lastUpdated=yesterday", ReasonInvalid, "_lastUpdated", "date or time of FHIR"},
		{"Patient", "_id=a&_lastUpdated=0000", ReasonInvalid, "_lastUpdated", "date or time of FHIR"},
		{"Patient", "_id=a&_lastUpdated=9999", ReasonInvalid, "_lastUpdated", "date or time of FHIR"},
		{"Patient", "_id=a&_lastUpdated=ap2026", ReasonInvalid, "_lastUpdated", "the prefix ap"},
		{"Patient", "_id=a&_lastUpdated=ne2026", ReasonInvalid, "_lastUpdated", "the prefix ne"},
		{"Patient", "_id=a&_count=0", ReasonInvalid, "_count", "from 1 to 500"},
		{"Patient", "_id=a&_count=501", ReasonInvalid, "_count", "from 1 to 500"},
		{"Patient", "_id=a&_count=x", ReasonInvalid, "_count", "from 1 to 500"},
		{"Patient", "_id=a&_count=1&_count=2", ReasonInvalid, "_count", "more than once"},
		{"Patient", "_id=a&_sort=name", ReasonInvalid, "_sort", "_lastUpdated"},
		{"Patient", "_page=", ReasonInvalid, "_page", "is empty"},
		{"Patient", "_page=t&_id=a", ReasonInvalid, "_page", "stands alone"},
		{"Patient", "", ReasonTooWide, "_id", "names what is looked for"},
		{"Patient", "_lastUpdated=2026&_count=5&_sort=_lastUpdated", ReasonTooWide, "_id", "only narrow and order"},
	} {
		q, err := parse(t, c.resourceType, c.form)
		require.Nil(t, q, c.form)
		require.Equal(t, errs.KindInvalid, errs.KindOf(err), c.form)
		require.Equal(t, c.reason, errs.ReasonOf(err), c.form)
		var said []string
		for _, v := range violations(t, err) {
			if v.Field == c.field {
				said = append(said, v.Description)
			}
		}
		require.Contains(t, strings.Join(said, "\n"), c.says, "%s: %v", c.form, err)
	}
	_, err := parse(t, "Patient", "email="+strings.Repeat("a", maxForm))
	require.Equal(t, ReasonInvalid, errs.ReasonOf(err))
	require.ErrorContains(t, err, "at most 4096 bytes")
}

// A refusal is logged and shown where the search's values must not be.
func TestRefusalsRepeatNoValue(t *testing.T) {
	t.Parallel()
	const value = "Featherstonehaugh"
	for _, form := range []string{
		"_id=" + value + "_", "identifier=a|b|" + value, "family=" + value, "given=" + value, "birthdate=" + value, "name=" + value, value + "%20Ann=1",
		"family:" + value + "%20Ann=x", "_has:" + value + "=x", "_count=" + value, "_sort=" + value, "_lastUpdated=" + value, "phone=" + value + `\`,
	} {
		_, err := parse(t, "Patient", form)
		require.Error(t, err, form)
		require.NotContains(t, err.Error(), value, form)
		for _, v := range violations(t, err) {
			require.NotContains(t, v.Field+v.Description, value, form)
		}
	}
}

// What a type's list of parameters names works for the type, with what it needs beside it, and nothing else does.
func TestTheParametersThatAreListedWork(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"_id": "a", "_lastUpdated": "2026", "patient": "a", "subject": "a", "identifier": "a", "phone": "a", "email": "a", "family": "a", "given": "a",
		"phonetic": "a", "birthdate": "1980-02-29", "code": "s|c", "vaccine-code": "s|c", "date": "2026-03-01",
	}
	for _, resourceType := range append(fhir.StoredTypes(), "Nonsense") {
		listed := map[string]bool{}
		for _, p := range Parameters(resourceType) {
			listed[p.Name] = true
		}
		require.Equal(t, Searchable(resourceType), len(listed) > 0, resourceType)
		for name, value := range good {
			form := url.Values{"_id": {"a"}, name: {value}}
			for _, s := range []string{"patient", "family", "birthdate"} {
				if listed[s] {
					form.Set(s, good[s])
				}
			}
			_, err := Parse(resourceType, form)
			if listed[name] {
				require.NoError(t, err, "%s %s", resourceType, name)
			} else {
				require.Equal(t, ReasonUnsupported, errs.ReasonOf(err), "%s %s", resourceType, name)
			}
		}
	}
}

// Any form is a query or a refusal with a reason of the package, and what a page token would keep of a query is that query.
func FuzzParse(f *testing.F) {
	for _, form := range []string{
		"", "_id=a,b&_lastUpdated=gt2026-03-01T09:00:00Z&_count=3&_sort=_lastUpdated", `identifier=urn:s|A\,1,|b,c\|d`, "phone=%2B1 555",
		"family=a&given=b,c&birthdate=eq1980-02-29", "phonetic=a&birthdate=1980-02-29", "_page=x", "_has:Observation:patient:code=x", "name:exact=%ff",
	} {
		f.Add("Patient", form)
	}
	for _, form := range []string{"patient=Patient/a&code=s|c", `subject=a&code=|own\|1`, "patient.name=x", "patient:Patient.name=x", "code=c"} {
		f.Add("Observation", form)
	}
	f.Add("Immunization", "patient=a&vaccine-code=s|c")
	f.Add("Encounter", "patient=a&date=2026-03-01")
	f.Add("Practitioner", "")
	f.Add("Patient", strings.Repeat("birthdate=1980-02-29&", 70)+strings.Repeat("family=a&", 50)+strings.Repeat("given=b&", 48))
	f.Add("Observation", "patient=a,b&"+strings.Repeat("code=s|c&", 70))
	f.Fuzz(func(t *testing.T, resourceType, form string) {
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Skip()
		}
		q, err := Parse(resourceType, values)
		if err != nil {
			require.Nil(t, q)
			require.Equal(t, errs.KindInvalid, errs.KindOf(err))
			require.Contains(t, []string{ReasonInvalid, ReasonUnsupported, ReasonTooWide}, errs.ReasonOf(err))
			return
		}
		require.LessOrEqual(t, q.Count, MaxCount)
		if q.page == "" {
			again, err := parse(t, resourceType, q.form)
			require.NoError(t, err)
			require.Equal(t, q, again)
		}
	})
}
