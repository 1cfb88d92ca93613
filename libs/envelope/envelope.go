// Package envelope seals documents with a patient's data key, keeps unwrapped
// data keys in memory for minutes, and makes the blind index tokens that find
// sealed documents. It stores nothing and never talks to the key service itself:
// what unwraps keys is handed in.
package envelope

import (
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
)

// version is the first byte of every sealed document. Another format gets
// another byte, so old documents stay readable beside new ones.
const version = 1

// KeySize is the length of a data key in bytes (AES-256).
const KeySize = 32

var (
	// ErrBroken says that a sealed document, or what it is bound to, was changed.
	ErrBroken = errs.New(errs.KindDataLoss, "SEAL_BROKEN", "the stored document fails its integrity check")
	// ErrWiped says that a key was used after its last holder released it.
	ErrWiped = errs.New(errs.KindInternal, "KEY_WIPED", "the data key is no longer in memory")
)

// Binding is what a sealed document is bound to. A document moved to another
// practice, patient, type, id, version or key does not open.
type Binding struct {
	Practice, Patient uuid.UUID
	Type              string
	ID                uuid.UUID
	Version           int64
	KeyID             uuid.UUID
}

// label separates these bindings from any other use of the same key.
const label = "carekeep/envelope/1"

// encode writes every field behind its length, so that no two bindings share an encoding.
func (b Binding) encode() []byte {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(b.Version))
	out := make([]byte, 0, len(label)+len(b.Type)+4*len(b.ID)+len(number)+7*4)
	out = appendField(out, []byte(label))
	out = appendField(out, b.Practice[:])
	out = appendField(out, b.Patient[:])
	out = appendField(out, []byte(b.Type))
	out = appendField(out, b.ID[:])
	out = appendField(out, number[:])
	return appendField(out, b.KeyID[:])
}

func appendField(out, field []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
	return append(out, field...)
}
