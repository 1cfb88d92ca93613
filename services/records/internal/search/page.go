package search

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// A page token holds the search and the place where it goes on, sealed: a link may
// carry it in a URL, where no patient data may stand (ASVS 14.2.1). It opens for the
// practice, the user and the type it was made for, and grants nothing: every page is
// checked and recorded as the first one is.
const pageHead = 8 + 16 // time in microseconds, id

// errPage answers for every token that does not open, however it came about.
var errPage = errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID",
	"The page token does not belong to this search: send the token of its last page, as the same user.").
	WithField("_page", "is not a token of this search")

// pageCipher is AES-256-GCM under a key that is made of the practice's index key.
func pageCipher(practice *keys.Practice) (cipher.AEAD, error) {
	// No document begins with a zero byte, so this digest is no document's.
	key := practice.Index.Digest([]byte("\x00search-page-key\x00"))
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func pageBinding(practice *keys.Practice, user uuid.UUID, resourceType string) []byte {
	return append(append(append([]byte("page/1"), practice.ID[:]...), user[:]...), resourceType...)
}

func sealPage(practice *keys.Practice, user uuid.UUID, q *Query, at store.Cursor) (string, error) {
	aead, err := pageCipher(practice)
	if err != nil {
		return "", err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, pageHead+len(q.form)), uint64(at.Created.UnixMicro()))
	plain = append(append(plain, at.ID[:]...), q.form...)
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, pageBinding(practice, user, q.Type))), nil
}

func openPage(practice *keys.Practice, user uuid.UUID, resourceType, token string) (*Query, store.Cursor, error) {
	aead, err := pageCipher(practice)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, store.Cursor{}, errPage
	}
	plain, err := aead.Open(nil, nil, sealed, pageBinding(practice, user, resourceType))
	if err != nil || len(plain) < pageHead {
		return nil, store.Cursor{}, errPage
	}
	at := store.Cursor{Created: time.UnixMicro(int64(binary.BigEndian.Uint64(plain))).UTC()}
	copy(at.ID[:], plain[8:])
	form, err := url.ParseQuery(string(plain[pageHead:]))
	if err != nil {
		return nil, store.Cursor{}, errPage
	}
	// What was supported when the token was made may not be any more.
	q, err := Parse(resourceType, form)
	return q, at, err
}
