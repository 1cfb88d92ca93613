package generator_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"runtime"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
)

type bundle struct {
	ResourceType string
	Type         string
	Entry        []struct {
		FullURL  string `json:"fullUrl"`
		Resource json.RawMessage
		Request  struct{ Method, URL string }
	}
}

func generate(t *testing.T, opts generator.Options) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, generator.Bundle(&out, opts))
	return out.Bytes()
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	opts := generator.Options{Seed: 7, Patients: 20}
	first := generate(t, opts)
	require.Equal(t, first, generate(t, opts))
	require.NotEqual(t, first, generate(t, generator.Options{Seed: 8, Patients: 20}))
	sum := sha256.Sum256(first)
	// Pinned: benchmarks of two releases compare only while the population stays the same.
	require.Equal(t, "e6ef144a3d444c69cbe14174771f6e7f2907fe7dc65a59c15fcd49e607df7987", hex.EncodeToString(sum[:]))
}

func TestPatientDoesNotDependOnItsBundle(t *testing.T) {
	t.Parallel()
	var whole, part bundle
	require.NoError(t, json.Unmarshal(generate(t, generator.Options{Seed: 3, Patients: 10}), &whole))
	require.NoError(t, json.Unmarshal(generate(t, generator.Options{Seed: 3, First: 4, Patients: 2}), &part))
	require.Equal(t, whole.Entry[4*generator.PerPatient:6*generator.PerPatient], part.Entry)
}

func TestBundleShape(t *testing.T) {
	t.Parallel()
	var b bundle
	require.NoError(t, json.Unmarshal(generate(t, generator.Options{Seed: 1, Patients: 50}), &b))
	require.Equal(t, "Bundle", b.ResourceType)
	require.Equal(t, "transaction", b.Type)
	require.Len(t, b.Entry, 50*generator.PerPatient)
	seen := map[string]bool{}
	for _, e := range b.Entry {
		seen[e.FullURL] = true
	}
	require.Len(t, seen, len(b.Entry), "every id is unique")
	for _, e := range b.Entry {
		var r struct{ ResourceType, ID string }
		require.NoError(t, json.Unmarshal(e.Resource, &r))
		_, err := uuid.Parse(r.ID)
		require.NoError(t, err)
		require.Equal(t, "urn:uuid:"+r.ID, e.FullURL)
		require.Equal(t, r.ResourceType, e.Request.URL)
		for _, reference := range references(t, e.Resource) {
			require.True(t, seen[reference], "%s of %s points outside the bundle", reference, r.ResourceType)
		}
	}
}

// references collects every value of a "reference" key, however deep.
func references(t *testing.T, document []byte) []string {
	t.Helper()
	var tree any
	require.NoError(t, json.Unmarshal(document, &tree))
	var found []string
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, value := range node {
				if text, ok := value.(string); ok && key == "reference" {
					found = append(found, text)
				}
				walk(value)
			}
		case []any:
			for _, value := range node {
				walk(value)
			}
		}
	}
	walk(tree)
	return found
}

func TestFactsMatchDocuments(t *testing.T) {
	t.Parallel()
	for i := range 200 {
		facts := generator.Patient(5, i)
		resources := generator.Resources(facts)
		require.Len(t, resources, generator.PerPatient)
		for _, r := range resources {
			require.True(t, json.Valid(r.JSON), "%s", r.JSON)
		}
		for _, plain := range []string{facts.FamilyName, facts.GivenNames[0], facts.BirthDate, facts.SSN, facts.MRN, facts.Phone, facts.AddressLine, facts.City} {
			require.Contains(t, string(resources[0].JSON), plain)
		}
		last := resources[len(resources)-1]
		require.Equal(t, facts.Note, last.ID)
		require.Contains(t, string(last.JSON), base64.StdEncoding.EncodeToString([]byte(facts.NoteText)))
	}
}

func TestIdentifiersDoNotRepeat(t *testing.T) {
	t.Parallel()
	const many = 20_000
	seen := make(map[string]bool, 3*many)
	for i := range many {
		facts := generator.Patient(-9, i*(generator.MaxPatients/many))
		require.Regexp(t, `^999-[0-9]{2}-[0-9]{4}$`, facts.SSN)
		seen[facts.SSN], seen[facts.MRN], seen[facts.Phone] = true, true, true
	}
	require.Len(t, seen, 3*many)
}

func TestMemoryStaysConstant(t *testing.T) {
	heap := func(patients int) uint64 {
		var peak uint64
		sample := writerFunc(func(p []byte) (int, error) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			return len(p), nil
		})
		require.NoError(t, generator.Bundle(sample, generator.Options{Patients: patients}))
		return peak
	}
	small := heap(100)
	require.Less(t, heap(3_000), small+16<<20)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBadOptionsSayWhatToChange(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]generator.Options{
		"patients must be at least 1": {},
		"first must not be negative":  {Patients: 1, First: -1},
		"must be at most 1000000":     {Patients: 2, First: generator.MaxPatients - 1},
	} {
		require.ErrorContains(t, generator.Bundle(io.Discard, opts), name)
	}
}

func BenchmarkBundle(b *testing.B) {
	for b.Loop() {
		if err := generator.Bundle(io.Discard, generator.Options{Patients: 100}); err != nil {
			b.Fatal(err)
		}
	}
}
