package fhir

import (
	"maps"
	"slices"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// Stored reports whether resources of a type are stored: a patient's, or the practice's.
func Stored(resourceType string) bool {
	return resourceType == TypePatient || Clinical(resourceType) || Directory(resourceType)
}

// StoredTypes are the types that are stored, in order.
var StoredTypes = sync.OnceValue(func() []string {
	names := map[string]bool{TypePatient: true}
	maps.Copy(names, directory)
	for name := range definitions.Memberships() {
		if Clinical(name) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
})

// ID is a document's logical id, "" where it has none.
func ID(doc []byte) string {
	if found := gjson.GetBytes(doc, "id"); found.Type == gjson.String {
		return found.Str
	}
	return ""
}

// WithID sets a document's logical id and leaves every other byte as it is. doc is a JSON
// object; where it has no id, the id comes first.
func WithID(doc []byte, id string) ([]byte, error) {
	e := &edit{doc: doc}
	if e.get("id").Exists() {
		e.set("id", id)
		return e.doc, e.err
	}
	at := slices.Index(doc, '{') + 1
	out := make([]byte, 0, len(doc)+len(id)+8)
	out = append(append(append(out, doc[:at]...), `"id":"`+id+`"`...), ',')
	return append(out, doc[at:]...), nil
}
