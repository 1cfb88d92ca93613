// Package strictjson reads JSON (RFC 8259) once, from the front, and refuses what
// readers understand differently or choke on: a key twice, text that is no Unicode, NUL,
// numbers of absurd size, deep nesting. It changes no byte and knows no FHIR.
package strictjson

import (
	"bytes"
	"unicode/utf8"
)

// Limits of what is read.
const (
	// MaxDepth bounds nesting, so that brackets cannot exhaust the stack.
	MaxDepth = 128
	// maxNumber and maxExponent bound numbers. A precise decimal has some twenty digits;
	// an exponent beyond what a binary64 holds makes decimal libraries allocate without bound.
	maxNumber   = 64
	maxExponent = 308
)

// Reasons of a Fault.
const (
	ReasonMalformed = "JSON_MALFORMED"
	ReasonTooLarge  = "JSON_TOO_LARGE"
	ReasonTooDeep   = "JSON_TOO_DEEP"
	ReasonDuplicate = "JSON_DUPLICATE_KEY"
	ReasonNumber    = "JSON_NUMBER"
	ReasonText      = "JSON_TEXT"
)

// Fault is why JSON is refused. Its text says what to change and holds nothing of
// the document.
type Fault struct {
	Reason string
	Text   string
	Offset int // bytes from the start
}

func (f *Fault) Error() string { return f.Text }

// Kind is what a value is.
type Kind byte

// Kinds of value.
const (
	None Kind = iota // the document ends, or something else stands here
	Object
	Array
	Text
	Number
	Bool
	Null
)

// Reader reads one document. After a Fault it must not be used any more.
type Reader struct {
	raw   []byte
	pos   int
	depth int
	keys  [][]byte // of all open objects, innermost last
}

// NewReader reads raw, which it does not change. A document over limit bytes, or
// one that is not UTF-8, is refused at once.
func NewReader(raw []byte, limit int) (*Reader, error) {
	r := &Reader{raw: raw}
	if len(raw) > limit {
		return nil, r.fault(ReasonTooLarge, "the document is too large")
	}
	if !utf8.Valid(raw) {
		return nil, r.fault(ReasonText, "the document is not UTF-8")
	}
	return r, nil
}

// Check reads a whole document for nothing but its faults.
func Check(raw []byte, limit int) error {
	r, err := NewReader(raw, limit)
	if err == nil {
		err = r.Skip()
	}
	if err == nil {
		err = r.End()
	}
	return err
}

// Offset is where the reader stands, in bytes from the start.
func (r *Reader) Offset() int { return r.pos }

// Rest is the document from the next value on.
func (r *Reader) Rest() []byte {
	r.space()
	return r.raw[r.pos:]
}

func (r *Reader) fault(reason, text string) error {
	return &Fault{Reason: reason, Text: text, Offset: r.pos}
}

func (r *Reader) space() {
	for r.pos < len(r.raw) {
		switch r.raw[r.pos] {
		case ' ', '\n', '\t', '\r':
			r.pos++
		default:
			return
		}
	}
}

// next is the next byte that is no space; 0 at the end.
func (r *Reader) next() byte {
	r.space()
	if r.pos == len(r.raw) {
		return 0
	}
	return r.raw[r.pos]
}

// Kind tells what value comes next.
func (r *Reader) Kind() Kind {
	switch c := r.next(); {
	case c == '{':
		return Object
	case c == '[':
		return Array
	case c == '"':
		return Text
	case c == '-' || c >= '0' && c <= '9':
		return Number
	case c == 't' || c == 'f':
		return Bool
	case c == 'n':
		return Null
	}
	return None
}

// End checks that nothing comes after the document.
func (r *Reader) End() error {
	if r.next() != 0 || r.pos < len(r.raw) {
		return r.fault(ReasonMalformed, "something follows after the end of the JSON")
	}
	return nil
}

// Skip reads a value of any kind.
func (r *Reader) Skip() error {
	switch r.Kind() {
	case Object:
		return r.Object(func([]byte) error { return r.Skip() })
	case Array:
		return r.Array(func(int) error { return r.Skip() })
	case Text:
		_, err := r.Text()
		return err
	case Number:
		_, err := r.Number()
		return err
	case Bool, Null:
		_, err := r.Word()
		return err
	}
	return r.fault(ReasonMalformed, "a JSON value is expected")
}

// Object reads an object. member must read the value of each key.
func (r *Reader) Object(member func(key []byte) error) error {
	first := len(r.keys)
	var seen map[string]bool
	defer func() { r.keys = r.keys[:first] }()
	return r.sequence('{', '}', func(int) error {
		if r.next() != '"' {
			return r.fault(ReasonMalformed, "a key in quotes is expected")
		}
		key, err := r.Text()
		if err != nil {
			return err
		}
		var twice bool
		if seen, twice = r.note(key, first, seen); twice {
			return r.fault(ReasonDuplicate, "an object has the same key twice: keep one")
		}
		if r.next() != ':' {
			return r.fault(ReasonMalformed, "a colon is expected after a key")
		}
		r.pos++
		return member(key)
	})
}

// Array reads an array. item must read each value.
func (r *Reader) Array(item func(i int) error) error { return r.sequence('[', ']', item) }

func (r *Reader) sequence(open, end byte, each func(i int) error) error {
	if r.next() != open {
		return r.fault(ReasonMalformed, "a JSON value is expected")
	}
	if r.depth++; r.depth > MaxDepth {
		return r.fault(ReasonTooDeep, "the JSON is nested too deeply")
	}
	r.pos++
	if r.next() == end {
		r.pos++
		r.depth--
		return nil
	}
	for i := 0; ; i++ {
		if err := each(i); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.pos++
		case end:
			r.pos++
			r.depth--
			return nil
		default:
			return r.fault(ReasonMalformed, "a comma or a closing bracket is expected")
		}
	}
}

// many is the number of keys from which on a map is quicker than a look at each.
const many = 24

// note remembers a key of the innermost object, whose keys begin at first.
func (r *Reader) note(key []byte, first int, seen map[string]bool) (_ map[string]bool, twice bool) {
	if seen != nil {
		twice = seen[string(key)]
		seen[string(key)] = true
		return seen, twice
	}
	for _, k := range r.keys[first:] {
		if bytes.Equal(k, key) {
			return nil, true
		}
	}
	r.keys = append(r.keys, key)
	if len(r.keys)-first < many {
		return nil, false
	}
	seen = make(map[string]bool, 2*many)
	for _, k := range r.keys[first:] {
		seen[string(k)] = true
	}
	return seen, false
}

// Word reads true, false or null.
func (r *Reader) Word() ([]byte, error) {
	r.space()
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(r.raw[r.pos:], []byte(word)) {
			r.pos += len(word)
			return r.raw[r.pos-len(word) : r.pos], nil
		}
	}
	return nil, r.fault(ReasonMalformed, "a JSON value is expected")
}
