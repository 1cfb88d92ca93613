package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// A page token is opaque to clients: version, fingerprint of the filters it was made
// for, number of the last entry shown, and its reason where that is an alert. It
// grants nothing: a forged one only starts the caller's own list elsewhere.
const (
	tokenVersion    = 1
	fingerprintSize = 8
	tokenHead       = 1 + fingerprintSize + 8
)

// fingerprint is of all fields of a list request but those that may differ from page to page.
func fingerprint(req proto.Message) []byte {
	same := proto.Clone(req)
	m := same.ProtoReflect()
	for _, name := range []protoreflect.Name{"page_token", "page_size"} {
		m.Clear(m.Descriptor().Fields().ByName(name))
	}
	// A request came from the wire, so it can be encoded again.
	raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(same)
	sum := sha256.Sum256(append([]byte(m.Descriptor().FullName()+"\x00"), raw...))
	return sum[:fingerprintSize]
}

func writeToken(last store.AlertKey, fingerprint []byte) string {
	raw := append([]byte{tokenVersion}, fingerprint...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(last.Seq))
	return base64.RawURLEncoding.EncodeToString(append(raw, last.Reason...))
}

// readToken returns where the page before ended; the zero key for the first page.
func readToken(token string, fingerprint []byte) (store.AlertKey, error) {
	if token == "" {
		return store.AlertKey{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < tokenHead || raw[0] != tokenVersion || !bytes.Equal(raw[1:1+fingerprintSize], fingerprint) {
		return store.AlertKey{}, badToken
	}
	seq := int64(binary.BigEndian.Uint64(raw[1+fingerprintSize:]))
	if seq <= 0 && len(raw) == tokenHead || seq < 0 || !bytes.Equal(raw[tokenHead:], bytes.ToValidUTF8(raw[tokenHead:], nil)) || bytes.IndexByte(raw[tokenHead:], 0) >= 0 {
		return store.AlertKey{}, badToken
	}
	return store.AlertKey{Seq: seq, Reason: string(raw[tokenHead:])}, nil
}

var badToken = errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID", "the page token is not one of this list").
	WithField("page_token", "use next_page_token of the page before, with the same filters")

// Tokens of detections hold the time and id of the last one shown.
const detectionTokenSize = tokenHead + 16

func writeDetectionToken(last store.DetectionKey, fingerprint []byte) string {
	raw := append([]byte{tokenVersion}, fingerprint...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(last.Time.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, last.ID[:]...))
}

// readDetectionToken returns where the page before ended; the zero key for the first page.
func readDetectionToken(token string, fingerprint []byte) (store.DetectionKey, error) {
	if token == "" {
		return store.DetectionKey{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != detectionTokenSize || raw[0] != tokenVersion || !bytes.Equal(raw[1:1+fingerprintSize], fingerprint) {
		return store.DetectionKey{}, badToken
	}
	at := int64(binary.BigEndian.Uint64(raw[1+fingerprintSize:]))
	if at <= 0 || at > latestToken {
		return store.DetectionKey{}, badToken
	}
	return store.DetectionKey{Time: time.UnixMicro(at), ID: uuid.UUID(raw[tokenHead:])}, nil
}

// latestToken is the last time that PostgreSQL and clients both know, in microseconds.
var latestToken = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).UnixMicro()
