package validate_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/devkit/samples"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
)

// resources are the resources of the 24 sample patients.
func resources(tb testing.TB) []json.RawMessage {
	tb.Helper()
	var out []json.RawMessage
	for _, raw := range samples.Bundles(tb) {
		var b struct {
			Entry []struct{ Resource json.RawMessage }
		}
		require.NoError(tb, json.Unmarshal(raw, &b))
		for _, e := range b.Entry {
			out = append(out, e.Resource)
		}
	}
	require.NotEmpty(tb, out)
	return out
}

func typeOf(doc []byte) string { return gjson.GetBytes(doc, "resourceType").Str }

// Nothing of the sample patients is refused: not for its form, and no identifier,
// device number or seed is taken for a card number.
func TestSamplePatientsAreTaken(t *testing.T) {
	t.Parallel()
	for _, doc := range resources(t) {
		require.Empty(t, validate.Resource(typeOf(doc), doc).Issues, typeOf(doc))
	}
}

func BenchmarkResource(b *testing.B) {
	docs := resources(b)
	size := 0
	for _, d := range docs {
		size += len(d)
	}
	b.SetBytes(int64(size / len(docs)))
	i := 0
	for b.Loop() {
		d := docs[i%len(docs)]
		validate.Resource(typeOf(d), d)
		i++
	}
}
