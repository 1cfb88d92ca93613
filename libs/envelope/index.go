package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"runtime"
)

// Index makes blind index tokens under a practice's index key: equal values give
// equal tokens, and without the key a token says nothing.
type Index struct{ key []byte }

// NewIndex takes the practice's index key of at least 32 bytes. It copies the key, and
// the copy is overwritten once nobody uses the Index any more.
func NewIndex(raw []byte) (*Index, error) {
	if len(raw) < KeySize {
		return nil, fmt.Errorf("envelope: an index key has at least %d bytes, not %d", KeySize, len(raw))
	}
	x := &Index{key: append([]byte(nil), raw...)}
	runtime.AddCleanup(x, func(key []byte) { clear(key) }, x.key)
	return x, nil
}

// Wipe overwrites the index key; the Index makes no tokens afterwards.
func (x *Index) Wipe() { clear(x.key); x.key = nil }

// Token is the token (32 bytes) of a value in the named index. Its parts are
// normalised by the caller, who also answers for the index: a value with few possible
// outcomes alone (sex, birth date, state) can be found out from how often its token
// occurs (services/records/internal/index refuses such an index).
func (x *Index) Token(index string, parts ...string) []byte {
	return x.sum("token/2/"+index, parts...)
}

// Digest fingerprints a document under the index key, so that the log can tell
// whether it changed and nobody can guess what it says.
func (x *Index) Digest(doc []byte) []byte { return x.sum("digest/1", string(doc)) }

func (x *Index) sum(label string, parts ...string) []byte {
	if len(x.key) == 0 {
		panic("envelope: the index key is wiped")
	}
	mac := hmac.New(sha256.New, x.key)
	writePart(mac, label)
	for _, p := range parts {
		writePart(mac, p)
	}
	return mac.Sum(nil)
}

func writePart(mac hash.Hash, part string) {
	_ = binary.Write(mac, binary.BigEndian, uint32(len(part))) // a hash never fails to write
	mac.Write([]byte(part))
}
