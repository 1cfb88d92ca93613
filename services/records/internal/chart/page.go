package chart

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"time"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// A page token is base64url of: version, a checksum of the list it belongs to,
// and the time and id of the last resource shown. It is no secret and grants nothing:
// every page is checked as the first one is.
const (
	tokenVersion = 1
	tokenBytes   = 1 + 4 + 8 + 16
)

// Row is a row of a list that goes on in pages.
type Row interface {
	Read() bool
	At() store.Cursor
}

// Fit is how many rows a page shows: at most size, and no more than were read with
// their content.
func Fit[T Row](rows []T, size int) int {
	for i, row := range rows {
		if i == size || !row.Read() {
			return i
		}
	}
	return len(rows)
}

// Cut takes the rows beyond the page off, and makes the token that leads to them.
func Cut[T Row](rows []T, size int, scope string) ([]T, string) {
	size = Fit(rows, size)
	if len(rows) <= size {
		return rows, ""
	}
	rows = rows[:size]
	return rows, PageToken(scope, rows[size-1].At())
}

// PageToken makes the token that goes on after a resource of a list.
func PageToken(scope string, after store.Cursor) string {
	raw := make([]byte, 0, tokenBytes)
	raw = append(raw, tokenVersion)
	raw = binary.BigEndian.AppendUint32(raw, checksum(scope))
	raw = binary.BigEndian.AppendUint64(raw, uint64(after.Created.UnixMicro())) //nolint:gosec // read back as it was
	raw = append(raw, after.ID[:]...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// After reads where a page of a list, newest first, goes on.
func (p Page) After(scope string) (store.Cursor, error) {
	return parseToken(p.Token, scope, store.Top())
}

// Limit is how many rows a page shows at most.
func (p Page) Limit() int { return p.size() }

// parseToken reads a token of the list; an empty one is start.
func parseToken(token, scope string, start store.Cursor) (store.Cursor, error) {
	if token == "" {
		return start, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenBytes || raw[0] != tokenVersion || binary.BigEndian.Uint32(raw[1:]) != checksum(scope) {
		return store.Cursor{}, errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID",
			"The page token does not belong to this list: send the next_page_token of its last page, with the same parent.").
			WithField("page_token", "is not a token of this list")
	}
	var at store.Cursor
	micros := int64(binary.BigEndian.Uint64(raw[5:]))
	at.Created = time.UnixMicro(micros).UTC()
	if at.Created.Year() < 1 || at.Created.Year() > 9999 { // beyond what Postgres and FHIR know
		return store.Top(), nil
	}
	copy(at.ID[:], raw[13:])
	return at, nil
}

func checksum(scope string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(scope))
	return h.Sum32()
}
