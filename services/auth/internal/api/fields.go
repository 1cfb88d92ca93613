package api

import (
	"context"
	"encoding/base64"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

const (
	usualPage = 100
	maxEmail  = 254 // RFC 5321 section 4.5.3.1.3, less the angle brackets
)

func invalid(field, description string) error {
	return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request does not have the required form").WithField(field, description)
}

// idOf takes the id out of a resource name of one collection, as "users/{uuid}".
func idOf(field, name, collection string) (uuid.UUID, error) {
	text, ok := strings.CutPrefix(name, collection+"/")
	id, err := uuid.Parse(text)
	if !ok || err != nil || id.String() != text {
		return uuid.Nil, invalid(field, "must be "+collection+"/ and a UUID in lower case")
	}
	return id, nil
}

// staffOf takes doctor and member out of "users/{doctor}/staff/{user}".
func staffOf(field, name string) (doctor, member uuid.UUID, err error) {
	parent, staff, _ := strings.Cut(name, "/staff/")
	if doctor, err = idOf(field, parent, "users"); err == nil {
		member, err = idOf(field, "staff/"+staff, "staff")
	}
	return doctor, member, err
}

func requestID(text string) (*uuid.UUID, error) {
	if text == "" {
		return nil, nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return nil, invalid("request_id", "must be a UUID")
	}
	return &id, nil
}

// etag spells a version; versionOf reads it. Clients treat it as opaque.
func etag(version int64) string { return strconv.FormatInt(version, 10) }

func versionOf(field, text string) (int64, error) {
	if text == "" {
		return 0, errs.New(errs.KindInvalid, "ETAG_MISSING", "send the etag that was read").WithField(field, "is required")
	}
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil || version < 1 {
		return 0, user.ErrStale // not one of ours, so not the current one
	}
	return version, nil
}

// page reads page_size and page_token; pageToken makes the token of the next page.
func page(size int32, token string) (after uuid.UUID, n int, err error) {
	n = int(size)
	if n == 0 {
		n = usualPage
	}
	if token == "" {
		return uuid.Nil, n, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err == nil {
		after, err = uuid.FromBytes(raw)
	}
	if err != nil {
		return uuid.Nil, 0, invalid("page_token", "must be the next_page_token of the page before")
	}
	return after, n, nil
}

func pageToken(last uuid.UUID) string { return base64.RawURLEncoding.EncodeToString(last[:]) }

// listed answers a page of a list: read gets the rows after an id, and whether there are more.
func listed[Row, Message any](ctx context.Context, r interface {
	GetPageSize() int32
	GetPageToken() string
}, read func(ctx context.Context, c *caller.Caller, after uuid.UUID, size int) ([]Row, bool, error),
	message func(Row) Message, id func(Row) uuid.UUID,
) (messages []Message, next string, err error) {
	c, err := who(ctx)
	if err != nil {
		return nil, "", err
	}
	after, size, err := page(r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, "", err
	}
	list, more, err := read(ctx, c, after, size)
	if err != nil {
		return nil, "", err
	}
	for _, row := range list {
		messages = append(messages, message(row))
	}
	if more {
		next = pageToken(id(list[len(list)-1]))
	}
	return messages, next, nil
}

// mask says which fields of a resource an update names.
type mask struct{ paths []string }

// newMask checks the paths of an update. Fields in changeable may be named;
// those in fixed (output only, or there to find the resource) are passed over,
// as a REST client that sends the whole resource names them too. An empty mask
// names every changeable field that is set (AIP-134).
func newMask(m *fieldmaskpb.FieldMask, changeable map[string]bool, fixed ...string) (mask, error) {
	var named mask
	if len(m.GetPaths()) == 0 || slices.Equal(m.GetPaths(), []string{"*"}) {
		for path, set := range changeable {
			if set || len(m.GetPaths()) > 0 {
				named.paths = append(named.paths, path)
			}
		}
		return named, nil
	}
	for _, path := range m.GetPaths() {
		if _, ok := changeable[path]; ok {
			named.paths = append(named.paths, path)
		} else if !slices.Contains(fixed, path) {
			return mask{}, invalid("update_mask", "names a field that cannot be changed")
		}
	}
	return named, nil
}

func (m mask) has(path string) bool { return slices.Contains(m.paths, path) }

// line checks text that is shown to people: one line, not empty, storable.
func line(field, text string) error {
	if strings.TrimSpace(text) == "" {
		return invalid(field, "must not be empty")
	}
	return printable(field, text)
}

func printable(field, text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return invalid(field, "must not hold control characters")
	}
	return nil
}

// address checks a mail address as it will stand in a To line: an address and nothing else.
func address(field, text string) error {
	parsed, err := mail.ParseAddress(text)
	if err != nil || parsed.Address != text || len(text) > maxEmail {
		return invalid(field, "must be a mail address such as name@example.org")
	}
	return nil
}
