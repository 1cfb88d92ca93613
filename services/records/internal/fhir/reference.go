package fhir

import (
	"strings"

	"github.com/google/uuid"
)

// ReferenceKind says how a FHIR reference names its target.
type ReferenceKind int

// Kinds of reference, as R4 2.3.0 distinguishes them.
const (
	ReferenceOther    ReferenceKind = iota // a fragment, a query, a target that is no patient
	ReferenceURN                           // urn:uuid:…, matched with an entry's fullUrl
	ReferenceRelative                      // Patient/{id}
	ReferenceAbsolute                      // https://…/Patient/{id}
)

// Reference is a reference that may name a patient.
type Reference struct {
	Kind ReferenceKind
	// ID is the logical id, or the UUID of a URN in lower case.
	ID string
	// URL is an absolute reference as it was written, without a version.
	URL string
}

const urnUUID = "urn:uuid:"

// ParsePatientReference reads a reference in so far as it can name a patient.
func ParsePatientReference(ref string) Reference {
	if rest, ok := cutPrefixFold(ref, urnUUID); ok {
		if id, ok := ParseUUID(rest); ok {
			return Reference{Kind: ReferenceURN, ID: id.String()}
		}
		return Reference{}
	}
	url, _, _ := strings.Cut(ref, "/_history/")
	kind := ReferenceRelative
	path := url
	if strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") {
		kind = ReferenceAbsolute
		at := strings.LastIndex(url, "/Patient/")
		if at < 0 {
			return Reference{}
		}
		path = url[at+1:]
	}
	id, ok := strings.CutPrefix(path, "Patient/")
	if !ok || !ValidID(id) {
		return Reference{}
	}
	if kind == ReferenceRelative {
		return Reference{Kind: kind, ID: id}
	}
	return Reference{Kind: kind, ID: id, URL: url}
}

// ValidID reports whether an id has the syntax of a FHIR logical id: 1 to 64
// letters, digits, "-" and ".".
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// ParseUUID reads a UUID in its 36-character form only: braces and other
// spellings of a UUID are no FHIR ids. The nil and the maximum UUID name nothing.
func ParseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil && id != uuid.Nil && id != uuid.Max
}

// StoreID is the id under which a resource is stored. A logical id that is a UUID
// stays; any other may be a medical record number, and so becomes a UUIDv8 from a
// keyed digest, lest it shows in tables, URLs and logs.
func StoreID(digest func([]byte) []byte, resourceType, id string) uuid.UUID {
	if u, ok := ParseUUID(id); ok {
		return u
	}
	// No document begins with a zero byte, so this digest is no document's.
	sum := digest([]byte("\x00id\x00" + resourceType + "/" + id))
	var u uuid.UUID
	copy(u[:], sum)
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// URN reads the UUID of a "urn:uuid:…".
func URN(s string) (uuid.UUID, bool) {
	rest, ok := cutPrefixFold(s, urnUUID)
	if !ok {
		return uuid.Nil, false
	}
	return ParseUUID(rest)
}
