package fhir_test

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/samples"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

const someUUID = "63731047-b5a9-4b05-a14b-8cf6507efc98"

func TestParsePatientReference(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]fhir.Reference{
		"Patient/12":                             {Kind: fhir.ReferenceRelative, ID: "12"},
		"Patient/12/_history/3":                  {Kind: fhir.ReferenceRelative, ID: "12"},
		"urn:uuid:" + someUUID:                   {Kind: fhir.ReferenceURN, ID: someUUID},
		"URN:UUID:" + strings.ToUpper(someUUID):  {Kind: fhir.ReferenceURN, ID: someUUID},
		"https://h.example/fhir/Patient/12":      {Kind: fhir.ReferenceAbsolute, ID: "12", URL: "https://h.example/fhir/Patient/12"},
		"http://h/Patient/Patient/9/_history/1":  {Kind: fhir.ReferenceAbsolute, ID: "9", URL: "http://h/Patient/Patient/9"},
		"https://h.example/fhir/Practitioner/12": {},
		"Practitioner/12":                        {},
		"Patient/":                               {},
		"Patient/a b":                            {},
		"Patient?identifier=1":                   {},
		"#p":                                     {},
		"urn:uuid:{" + someUUID + "}":            {},
		"urn:oid:1.2.3":                          {},
		"":                                       {},
	} {
		require.Equal(t, want, fhir.ParsePatientReference(ref), ref)
	}
}

// An id that is no UUID may be a medical record number; it must not become visible.
func TestStoreIDHidesForeignIDs(t *testing.T) {
	t.Parallel()
	digest := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	require.Equal(t, uuid.MustParse(someUUID), fhir.StoreID(digest, "Patient", strings.ToUpper(someUUID)))
	id := fhir.StoreID(digest, "Patient", "MRN-4711")
	require.Equal(t, uuid.Version(8), id.Version())
	require.Equal(t, uuid.RFC4122, id.Variant())
	require.NotEqual(t, id, fhir.StoreID(digest, "Practitioner", "MRN-4711"))
	require.Equal(t, id, fhir.StoreID(digest, "Patient", "MRN-4711"))
	for _, reserved := range []string{uuid.Nil.String(), uuid.Max.String(), "{" + someUUID + "}", "urn:uuid:" + someUUID} {
		require.Equal(t, uuid.Version(8), fhir.StoreID(digest, "Patient", reserved).Version(), reserved)
	}
}

// Every resource of the sample patients names its patient.
func TestSamplePatients(t *testing.T) {
	t.Parallel()
	for _, raw := range samples.Bundles(t) {
		var b struct {
			Entry []struct {
				FullURL  string
				Resource json.RawMessage
			}
		}
		require.NoError(t, json.Unmarshal(raw, &b))
		for _, e := range b.Entry {
			var head struct{ ResourceType string }
			require.NoError(t, json.Unmarshal(e.Resource, &head))
			require.True(t, fhir.Known(head.ResourceType))
			if fhir.Clinical(head.ResourceType) {
				require.Equal(t, [][]string{{b.Entry[0].FullURL}}, fhir.Subjects(head.ResourceType, e.Resource))
			}
		}
		p := fhir.PatientView(b.Entry[0].Resource)
		require.NotEmpty(t, p.FamilyName)
		require.NotEmpty(t, p.NationalIdentifiers)
	}
}
