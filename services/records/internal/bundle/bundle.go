// Package bundle reads the entries of a FHIR bundle of any size from a stream and
// holds one entry at a time. It keeps the exact bytes of each resource. What the
// resources mean is not its business.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Reasons why an entry is refused here.
const (
	ReasonTooLarge  = "ENTRY_TOO_LARGE"
	ReasonUTF8      = "ENTRY_INVALID_UTF8"
	ReasonMalformed = "ENTRY_MALFORMED"
	ReasonMethod    = "ENTRY_METHOD"
)

// Entry is one entry of a bundle.
type Entry struct {
	Index   int64 // position in the entry list, from 0
	FullURL string
	// Method and URL are those of entry.request; empty where there is none.
	Method, URL string
	// Resource is the resource as it came, byte for byte.
	Resource []byte
	// Problem says why the entry cannot be taken; all but Index is then empty.
	Problem *Problem
}

// Problem is a reason to refuse one entry while the rest goes in. Its message
// says what to change and holds no data of the entry.
type Problem struct{ Reason, Message string }

// Malformed is a bundle that cannot be read any further.
type Malformed struct {
	Offset int64 // bytes from the start
	Index  int64 // the entry, -1 outside of entries
	Text   string
}

func (m *Malformed) Error() string {
	if m.Index < 0 {
		return fmt.Sprintf("the bundle cannot be read at byte %d: %s", m.Offset, m.Text)
	}
	return fmt.Sprintf("the bundle cannot be read at byte %d, in entry %d: %s", m.Offset, m.Index, m.Text)
}

// Reader reads one bundle.
type Reader struct {
	s     *scanner
	limit int
	state state
	index int64 // of the next entry
	kind  string
	seen  map[string]bool // keys of the bundle that must not come twice
}

type state int

const (
	atStart state = iota
	inBundle
	inEntries
	atEnd
)

// NewReader reads from in; an entry of more than limit bytes is refused.
func NewReader(in io.Reader, limit int) *Reader {
	return &Reader{s: newScanner(in), limit: limit, seen: map[string]bool{}}
}

// Next returns the next entry, io.EOF after the last one, a *Malformed where the
// bundle cannot be read, or the error of the stream.
func (r *Reader) Next() (Entry, error) {
	entry, err := r.next()
	var f fault
	if errors.As(err, &f) {
		index := int64(-1)
		if r.state == inEntries {
			index = r.index
		}
		r.state = atEnd
		return Entry{}, &Malformed{Offset: r.s.offset(), Index: index, Text: f.text}
	}
	return entry, err
}

func (r *Reader) next() (Entry, error) {
	if r.state == atStart {
		if err := r.open(); err != nil {
			return Entry{}, err
		}
	}
	if r.state == inEntries {
		more, err := r.moreEntries()
		if err != nil || more {
			if err != nil {
				return Entry{}, err
			}
			return r.entry()
		}
	}
	if r.state == inBundle {
		found, err := r.findEntries()
		if err != nil {
			return Entry{}, err
		}
		if found {
			return r.entry()
		}
	}
	return Entry{}, io.EOF
}

func (r *Reader) open() error {
	if r.s.fill(3); r.s.end >= 3 && string(r.s.buf[:3]) == "\ufeff" {
		r.s.pos = 3 // a byte order mark, which RFC 8259 lets readers ignore
	}
	if err := r.s.expect('{', "a FHIR Bundle is expected, a JSON object"); err != nil {
		return err
	}
	c, err := r.s.space()
	if err != nil {
		return err
	}
	r.state = inBundle
	if c == '}' {
		r.s.pos++
		return r.finish()
	}
	return nil
}

// findEntries goes through the bundle's members to the first entry; false where
// the bundle has ended.
func (r *Reader) findEntries() (bool, error) {
	for r.state == inBundle {
		inside, err := r.member()
		if err != nil || inside {
			return inside, err
		}
		if err := r.afterMember(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// afterMember consumes the comma to the next member, or the end of the bundle.
func (r *Reader) afterMember() error {
	c, err := r.s.space()
	if err != nil {
		return err
	}
	switch c {
	case ',':
		r.s.pos++
		return nil
	case '}':
		r.s.pos++
		return r.finish()
	}
	return fault{"a comma or a closing bracket is expected"}
}

// member consumes one member of the bundle, or goes up to the first entry.
func (r *Reader) member() (inside bool, err error) {
	key, err := r.string("a key in quotes is expected")
	if err != nil {
		return false, err
	}
	if err := r.s.expect(':', "a colon is expected after a key"); err != nil {
		return false, err
	}
	switch key {
	case "resourceType", "type", "entry":
		if r.seen[key] {
			return false, fault{"the bundle has the key " + key + " twice"}
		}
		r.seen[key] = true
	}
	switch key {
	case "resourceType":
		kind, err := r.string("resourceType must be a string")
		if err == nil && kind != "Bundle" {
			err = fault{"the resource is not a FHIR Bundle: resourceType must be Bundle"}
		}
		return false, err
	case "type":
		return false, r.bundleType()
	case "entry":
		return r.enter()
	}
	return false, r.outside(func() error { return r.s.value(1) })
}

func (r *Reader) bundleType() error {
	kind, err := r.string("the bundle's type must be a string")
	if err != nil {
		return err
	}
	switch kind {
	case "transaction", "batch", "collection", "searchset":
		r.kind = kind
		return nil
	}
	return fault{"a bundle of this type is not imported: type must be transaction, batch, collection or searchset"}
}

// enter goes into the entry list; false where it is empty.
func (r *Reader) enter() (bool, error) {
	if err := r.s.expect('[', "entry must be a list"); err != nil {
		return false, err
	}
	c, err := r.s.space()
	if err != nil {
		return false, err
	}
	if c == ']' {
		r.s.pos++
		return false, nil
	}
	r.state = inEntries
	return true, nil
}

// moreEntries consumes the comma to the next entry; false where the list ends.
func (r *Reader) moreEntries() (bool, error) {
	c, err := r.s.space()
	if err != nil {
		return false, err
	}
	switch c {
	case ',':
		r.s.pos++
		return true, nil
	case ']':
		r.s.pos++
		r.state = inBundle
		return false, r.afterMember()
	}
	return false, fault{"a comma or a closing bracket is expected between entries"}
}

// entry reads the entry at which the scanner stands.
func (r *Reader) entry() (Entry, error) {
	if _, err := r.s.space(); err != nil {
		return Entry{}, err
	}
	raw, err := r.s.capture(r.limit, func() error { return r.s.value(2) })
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Index: r.index}
	r.index++
	switch {
	case r.s.badUTF8:
		e.Problem = &Problem{ReasonUTF8, "The entry holds bytes that are not UTF-8; encode it in UTF-8."}
	case r.s.overflow:
		e.Problem = &Problem{ReasonTooLarge, fmt.Sprintf("The entry is larger than %d bytes, the most that is taken.", r.limit)}
	default:
		e.read(raw)
	}
	return e, nil
}

// finish checks the bundle as a whole, once all of it was read.
func (r *Reader) finish() error {
	r.state = atEnd
	switch {
	case !r.seen["resourceType"]:
		return fault{"the JSON is not a FHIR Bundle: it lacks resourceType"}
	case r.kind == "":
		return fault{"the bundle lacks its type"}
	}
	if _, err := r.s.space(); err == nil {
		return fault{"the bundle ends here, yet more follows"}
	}
	if !errors.Is(r.s.readErr, io.EOF) {
		return r.s.readErr
	}
	return nil
}

// string consumes a short string and returns what it says.
func (r *Reader) string(otherwise string) (string, error) {
	c, err := r.s.space()
	if err != nil {
		return "", err
	}
	if c != '"' {
		return "", fault{otherwise}
	}
	var raw []byte
	err = r.outside(func() (err error) {
		raw, err = r.s.capture(256, r.s.text)
		return err
	})
	if err != nil || r.s.overflow {
		return "", err // longer than any key or code that counts
	}
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		return "", fault{otherwise}
	}
	return out, nil
}

// outside reads a part of the bundle that is no entry, where bad UTF-8 has no
// entry to be blamed on.
func (r *Reader) outside(read func() error) error {
	r.s.badUTF8 = false
	if err := read(); err != nil {
		return err
	}
	if r.s.badUTF8 {
		return fault{"the bundle holds bytes that are not UTF-8"}
	}
	return nil
}
