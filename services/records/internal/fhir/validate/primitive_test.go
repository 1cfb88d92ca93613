package validate_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
)

// Values that each primitive type takes, and values at its edges that it does not, as JSON.
func TestPrimitives(t *testing.T) {
	t.Parallel()
	for element, values := range map[string]struct{ good, bad []string }{
		"valueString":       {[]string{`"x"`, `" "`, `"a\tb\n"`, `"\u00a0"`}, []string{`""`, `"\u0001"`, `"a\u000cb"`, `1`, `true`, `{}`, `[]`}},
		"valueMarkdown":     {[]string{`"*x*"`}, []string{`""`, `"\u0007"`}},
		"valueCode":         {[]string{`"x"`, `"a b"`}, []string{`""`, `" a"`, `"a "`, `"a  b"`, `"a\t b"`, `"a\u0001"`}},
		"valueUri":          {[]string{`"urn:x"`, `"http://x/ä"`}, []string{`""`, `"a b"`, `"a\n"`, `"a\u0001"`}},
		"valueId":           {[]string{`"a-1.B"`}, []string{`""`, `"a_b"`, `"` + fmt.Sprintf("%065d", 0) + `"`}},
		"valueOid":          {[]string{`"urn:oid:1.2.0"`}, []string{`"1.2"`, `"urn:oid:3.1"`, `"urn:oid:1.02"`}},
		"valueUuid":         {[]string{`"urn:uuid:0d6ce1f8-3d06-4b4c-b0ac-0d3b8b1d3d7e"`}, []string{`"urn:uuid:0D6CE1F8-3D06-4B4C-B0AC-0D3B8B1D3D7E"`, `"urn:uuid:1"`}},
		"valueBase64Binary": {[]string{`"aGVsbG8="`, `"aGVs bG8=\n"`}, []string{`""`, `"aGVsbG8"`, `"%"`}},
		"valueDate":         {[]string{`"2024"`, `"2024-02"`, `"2024-02-29"`}, []string{`"0000"`, `"2024-13"`, `"2023-02-29"`, `"2024-2-1"`, `"2024-02-29T10:00:00Z"`, `"24"`}},
		"valueDateTime":     {[]string{`"2024"`, `"2024-02-29T10:00:00Z"`, `"2024-02-29T10:00:00.123+13:59"`}, []string{`"2024-02T10:00:00Z"`, `"2024-02-29T10:00Z"`, `"2024-02-29T25:00:00Z"`, `"2024-02-29T10:00:00+14:01"`}},
		"valueInstant":      {[]string{`"2024-02-29T10:00:00Z"`}, []string{`"2024-02-29"`, `"2024-02-29T10:00:00"`}},
		"valueTime":         {[]string{`"23:59:60.5"`}, []string{`"24:00:00"`, `"10:00"`}},
		"valueBoolean":      {[]string{`true`, `false`}, []string{`"true"`, `0`}},
		"valueDecimal":      {[]string{`1`, `-0.10`, `1E5`, `0`}, []string{`"1"`, `1e309`}},
		"valueInteger":      {[]string{`0`, `-2147483648`, `2147483647`}, []string{`2147483648`, `1.0`, `1e0`, `"1"`}},
		"valueUnsignedInt":  {[]string{`0`, `2147483647`}, []string{`-1`, `2147483648`}},
		"valuePositiveInt":  {[]string{`1`}, []string{`0`, `-1`}},
	} {
		check := func(value string) []validate.Issue {
			return validate.Resource("Basic", fmt.Appendf(nil, `{"resourceType":"Basic","code":{"text":"c"},"extension":[{"url":"urn:x",%q:%s}]}`, element, value)).Issues
		}
		for _, v := range values.good {
			require.Empty(t, check(v), "%s %s", element, v)
		}
		for _, v := range values.bad {
			issues := check(v)
			require.Len(t, issues, 1, "%s %s", element, v)
			require.Equal(t, "Basic.extension[0]."+element, issues[0].Path)
		}
	}
	// A narrative's div has no extensions beside it.
	require.NotEmpty(t, validate.Resource("Basic", []byte(`{"resourceType":"Basic","code":{"text":"c"},"text":{"status":"empty","div":"<div/>","_div":{"id":"x"}}}`)).Issues)
}
