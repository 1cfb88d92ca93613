package validate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// odd are resources with what samples lack.
var odd = []string{
	`{"resourceType":"Patient","id":"p","name":[{"given":["A",null],"_given":[null,{"extension":[{"url":"urn:x","valueCode":"y"}]}],"family":"B"}],` +
		`"birthDate":"1950-02-28","_birthDate":{"id":"b","extension":[{"url":"urn:x","valueDateTime":"1950-02-28T10:00:00+01:00"}]},` +
		`"contained":[{"resourceType":"Organization","id":"o","name":"N"}],"managingOrganization":{"reference":"#o"},"multipleBirthInteger":2}`,
	`{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueQuantity":{"value":1.50,"unit":"mg"},"component":[{"code":{"text":"d"},"valueBoolean":true}],` +
		`"effectivePeriod":{"start":"2020","end":"2020-02"},"referenceRange":[{"low":{"value":-0.1e2}}]}`,
	`{"resourceType":"QuestionnaireResponse","status":"completed","item":[{"linkId":"1","item":[{"linkId":"2","answer":[{"valueTime":"10:00:00","item":[{"linkId":"3"}]}]}]}]}`,
	`{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:0d6ce1f8-3d06-4b4c-b0ac-0d3b8b1d3d7e","resource":{"resourceType":"Basic","code":{"text":"x"}}}]}`,
	`{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"contentType":"text/plain","data":"aGVsbG8=","size":5}}],"masterIdentifier":{"value":"v"}}`,
	`{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"reference":"Patient/p"},"_medicationReference":null,"medicationCodeableConcept":{"coding":[{"system":"http://x","code":"a b"}]},` +
		`"dosageInstruction":[{"timing":{"repeat":{"dayOfWeek":["mon"],"timeOfDay":["10:00:00"],"count":3}}}]}`,
}

// seeds are the resources that mutations start from.
func seeds(t *testing.T) []json.RawMessage {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, generator.Bundle(&b, generator.Options{Seed: 11, Patients: 2}))
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &bundle))
	var out []json.RawMessage
	seen := map[string]int{}
	for _, e := range bundle.Entry {
		if kind := typeOf(e.Resource); seen[kind] < 3 {
			seen[kind]++
			out = append(out, e.Resource)
		}
	}
	for _, doc := range odd {
		out = append(out, json.RawMessage(doc))
	}
	return out
}

// official is HL7's schema, as the library reads it.
type official struct {
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

func newOfficial(t *testing.T) *official {
	t.Helper()
	raw, err := os.Open("../definitions/testdata/fhir.schema.json")
	require.NoError(t, err)
	defer raw.Close()
	doc, err := jsonschema.UnmarshalJSON(raw)
	require.NoError(t, err)
	// The schema leaves out that what has properties is an object.
	for _, d := range doc.(map[string]any)["definitions"].(map[string]any) {
		if d := d.(map[string]any); d["properties"] != nil {
			d["type"] = "object"
		}
	}
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("fhir.schema.json", doc))
	return &official{c, map[string]*jsonschema.Schema{}}
}

func (o *official) takes(t require.TestingT, resourceType string, doc []byte) bool {
	if o.compiled[resourceType] == nil {
		s, err := o.compiler.Compile("fhir.schema.json#/definitions/" + resourceType)
		require.NoError(t, err)
		o.compiled[resourceType] = s
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	return err == nil && o.compiled[resourceType].Validate(v) == nil
}

// What is taken is taken by HL7's schema too, and what is refused by the schema's
// rules is refused by the schema: for whole resources, and for resources with one to three
// faults or odd values. The checks that go beyond the schema are named in beyond.
func TestChecksAreTheSchema(t *testing.T) {
	t.Parallel()
	schema := newOfficial(t)
	docs := seeds(t)
	for _, doc := range docs {
		if bytes.Contains(doc, []byte("null")) {
			continue // the schema knows no null beside extensions, R4 2.6.2.3 does
		}
		require.Empty(t, validate.Resource(typeOf(doc), doc).Issues, string(doc))
		require.True(t, schema.takes(t, typeOf(doc), doc), string(doc))
	}
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var root any
		seed := rapid.SampledFrom(docs).Draw(t, "seed")
		resourceType := typeOf(seed)
		d := json.NewDecoder(bytes.NewReader(seed))
		d.UseNumber()
		require.NoError(t, d.Decode(&root))
		for range rapid.IntRange(0, 3).Draw(t, "mutations") {
			root = mutate(t, root)
		}
		doc, err := json.Marshal(root)
		require.NoError(t, err)
		issues := validate.Resource(resourceType, doc).Issues
		want := schema.takes(t, resourceType, doc)
		switch {
		case len(issues) == 0 && !want && !bytes.Contains(doc, []byte("null")):
			t.Fatalf("the schema refuses what was taken: %s", doc)
		case want && slices.ContainsFunc(issues, func(i validate.Issue) bool { return !beyond(i) }):
			t.Fatalf("the schema takes what was refused (%v): %s", issues, doc)
		}
		if len(issues) == 0 {
			taken++
		} else {
			refused++
		}
	})
	require.Positive(t, taken)
	require.Positive(t, refused)
}

// beyond reports whether an issue comes from a rule that R4 has in words or in its
// profiles, and the schema has not.
func beyond(i validate.Issue) bool {
	switch i.Reason {
	case validate.ReasonMissing, validate.ReasonChoice, validate.ReasonReference, validate.ReasonCard, validate.ReasonMedia:
		return true
	case validate.ReasonShape:
		return strings.Contains(i.Text, "empty") || i.Text == "must be a string" && strings.HasSuffix(i.Path, ".div")
	case validate.ReasonValue:
		for _, form := range []string{"not empty", "whole number", "base64", "day that exists", "a time as", "without white space"} {
			if strings.Contains(i.Text, form) {
				return true
			}
		}
	}
	return strings.HasPrefix(i.Reason, "JSON_")
}

// mutate changes one place of a document.
func mutate(t *rapid.T, v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 || rapid.IntRange(0, 5).Draw(t, "here") == 0 {
			return mutateObject(t, v, keys)
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		v[key] = mutate(t, v[key])
		return v
	case []any:
		if len(v) == 0 || rapid.IntRange(0, 3).Draw(t, "here") == 0 {
			return mutateList(t, v)
		}
		i := rapid.IntRange(0, len(v)-1).Draw(t, "item")
		v[i] = mutate(t, v[i])
		return v
	}
	return oddValue(t)
}

func mutateObject(t *rapid.T, v map[string]any, keys []string) any {
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		return oddValue(t)
	case 1:
		if len(keys) > 0 {
			delete(v, rapid.SampledFrom(keys).Draw(t, "gone"))
		}
	case 2:
		if len(keys) > 0 {
			from := rapid.SampledFrom(keys).Draw(t, "from")
			to := rapid.SampledFrom([]string{"value", "valueString", "Status", "status", "id", "_" + from, "extension", "reference", "subject", "resourceType"}).Draw(t, "to")
			v[to] = v[from]
		}
	case 3:
		return []any{v}
	default:
		v[rapid.SampledFrom([]string{"colour", "status", "id", "url", "code", "text", "div", "valueDecimal", "valueInteger", "extension", "modifierExtension", "active", "period"}).Draw(t, "new")] = oddValue(t)
	}
	return v
}

func mutateList(t *rapid.T, v []any) any {
	switch rapid.IntRange(0, 2).Draw(t, "how") {
	case 0:
		return append(v, oddValue(t))
	case 1:
		if len(v) > 0 {
			return v[0]
		}
	}
	return v[:0]
}

func oddValue(t *rapid.T) any {
	return rapid.SampledFrom([]any{
		"", " ", "x", "a b", "a  b", "2020-02-30", "2020", "2020-13", "2020-01-01T10:00:00Z", "2020-01-01T10:00:00", "2020-01-01T24:00:00+15:00", "10:00:00",
		"final", "male", "urn:oid:1.2", "urn:uuid:0d6ce1f8-3d06-4b4c-b0ac-0d3b8b1d3d7e", "aGVsbG8=", "aGVsbG8", "\u00a0", "a\u00a0b", "\t", "ä", "true", "Patient/1", strings.Repeat("i", 65),
		true, false, nil, json.Number("1"), json.Number("-1"), json.Number("1.5"), json.Number("0"), json.Number("1e3"), json.Number("99999999999"),
		map[string]any{}, map[string]any{"text": "x"}, map[string]any{"url": "urn:x", "valueString": "y"}, map[string]any{"reference": "Patient/1"},
		map[string]any{"start": "2020"}, map[string]any{"resourceType": "Basic", "code": map[string]any{"text": "x"}}, map[string]any{"resourceType": "None"},
		[]any{}, []any{"x"}, []any{nil}, []any{map[string]any{"url": "urn:x", "valueString": "y"}}, []any{map[string]any{"resourceType": "Patient", "id": "c"}},
	}).Draw(t, "odd")
}

// Documents of any bytes are checked without a panic, the first fault ends it, and
// no issue repeats what the document says.
func FuzzResource(f *testing.F) {
	for _, doc := range odd {
		f.Add([]byte(doc))
	}
	f.Add([]byte(`{"resourceType":"Patient","contained":[{"resourceType":"Patient","contained":[{}]}],"text":{"status":"generated","div":"<div/>"}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		report := validate.Resource("Patient", doc)
		if len(report.Issues) == 0 {
			if err := strictjson.Check(doc, len(doc)); err != nil {
				t.Fatalf("taken, but %v", err)
			}
		}
		for _, i := range report.Issues {
			if i.Text == "" || i.Reason == "" || len(fmt.Sprint(i)) > 600 {
				t.Fatalf("an issue without words, or with too many: %v", i)
			}
		}
	})
}
