// Package certificate holds the certificates of destruction: what was destroyed, when,
// on whose decision and under which law, signed in the note format of the audit log's
// checkpoints. A certificate names ids, counts and digests, and no patient's data.
package certificate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
)

// Signer is the name of the key that signs certificates, as verifier keys show it.
const Signer = "carekeep.records/certificates"

// Kind is what was destroyed.
type Kind string

const (
	// Erasure is of one patient.
	Erasure Kind = "erasure"
	// PracticeExit is of a practice, with its key.
	PracticeExit Kind = "practice-exit"
	// PracticeExport destroys nothing: it is the manifest of what a practice took along.
	PracticeExport Kind = "practice-export"
)

// Certificate says what was destroyed.
type Certificate struct {
	Kind     Kind      `json:"kind"`
	ID       uuid.UUID `json:"id"` // of the decision
	Practice uuid.UUID `json:"practice"`
	Patient  uuid.UUID `json:"patient,omitzero"`
	// Citation is the law it was done under, such as "GDPR Art. 17(1)(b)".
	Citation    string    `json:"citation"`
	RequestedBy uuid.UUID `json:"requested_by"`
	RequestTime time.Time `json:"request_time"`
	DecidedBy   uuid.UUID `json:"decided_by"`
	Time        time.Time `json:"time"`
	// Keys are the data keys that were destroyed; of a practice, the name of its key in Vault
	// and the newest version that was destroyed, with all before it.
	Keys         []uuid.UUID `json:"keys,omitempty"`
	VaultKey     string      `json:"vault_key,omitempty"`
	VaultVersion int         `json:"vault_version,omitempty"`
	// Rows counts what was destroyed or exported, by table.
	Rows map[string]int64 `json:"rows"`
	// Digest is SHA-256 in hex: over the keyed digests of all versions of an erased patient,
	// over an exported file, or over the signed manifest of the export before a practice's end.
	Digest string `json:"digest"`
}

// heading is the first line of a certificate, and names the version of its form.
const heading = "carekeep certificate of destruction, version 1"

// maxBytes bounds a certificate that is read. A patient has few keys and few tables.
const maxBytes = 1 << 20

// ErrMalformed says that a text is no certificate.
var ErrMalformed = errors.New("malformed certificate")

// Sign returns the certificate as a signed note.
func (c Certificate) Sign(signer note.Signer) (string, error) {
	text, err := c.text()
	if err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return "", fmt.Errorf("sign certificate: %w", err)
	}
	return string(signed), nil
}

func (c Certificate) text() (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode certificate: %w", err)
	}
	return heading + "\n" + string(body) + "\n", nil
}

// Open checks the signature against known keys and returns what was signed.
func Open(signed string, known note.Verifiers) (Certificate, error) {
	if len(signed) > maxBytes {
		return Certificate{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(signed), maxBytes)
	}
	n, err := note.Open([]byte(signed), known)
	if err != nil {
		return Certificate{}, fmt.Errorf("open certificate: %w", err)
	}
	body, found := strings.CutPrefix(n.Text, heading+"\n")
	if !found {
		return Certificate{}, fmt.Errorf("%w: it does not begin with %q", ErrMalformed, heading)
	}
	var c Certificate
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	// One certificate has one text: nothing is signed that a reader would not see.
	if text, err := c.text(); err != nil || text != n.Text {
		return Certificate{}, fmt.Errorf("%w: not in its one canonical form", ErrMalformed)
	}
	return c, nil
}
