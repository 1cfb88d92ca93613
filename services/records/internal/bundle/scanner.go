package bundle

import (
	"errors"
	"io"
	"unicode/utf8"
)

// maxDepth bounds nesting, so that brackets cannot exhaust the stack.
const maxDepth = 128

// scanner reads JSON (RFC 8259) from a stream through a buffer of fixed size. It
// checks grammar and UTF-8 and can capture the exact bytes of a value.
type scanner struct {
	in       io.Reader
	buf      []byte
	pos, end int
	base     int64 // stream offset of buf[0]
	readErr  error // why the buffer cannot be filled further

	capturing bool
	mark      int // where the capture goes on in buf
	captured  []byte
	limit     int
	overflow  bool // the value is longer than limit; captured is cut
	badUTF8   bool // the value holds bytes that are no UTF-8
}

func newScanner(in io.Reader) *scanner { return &scanner{in: in, buf: make([]byte, 64<<10)} }

func (s *scanner) offset() int64 { return s.base + int64(s.pos) }

// fault is a breach of JSON's grammar; text never quotes the input.
type fault struct{ text string }

func (f fault) Error() string { return f.text }

// fill makes at least n bytes available unless the stream ends before.
func (s *scanner) fill(n int) {
	for s.end-s.pos < n && s.readErr == nil {
		if s.pos > 0 {
			s.spill()
			s.base += int64(s.pos)
			s.end = copy(s.buf, s.buf[s.pos:s.end])
			s.pos, s.mark = 0, 0
		}
		var got int
		got, s.readErr = s.in.Read(s.buf[s.end:])
		s.end += got
	}
}

// spill moves what was captured out of the buffer, up to the limit.
func (s *scanner) spill() {
	if !s.capturing {
		return
	}
	part := s.buf[s.mark:s.pos]
	if len(s.captured)+len(part) > s.limit {
		s.overflow = true
		part = nil
	}
	if !s.overflow {
		s.captured = append(s.captured, part...)
	}
	s.mark = s.pos
}

// capture runs read and returns the bytes that it consumed. They are the caller's.
func (s *scanner) capture(limit int, read func() error) ([]byte, error) {
	s.capturing, s.mark, s.limit = true, s.pos, limit
	s.captured, s.overflow, s.badUTF8 = nil, false, false
	err := read()
	s.spill()
	s.capturing = false
	out := s.captured
	s.captured = nil
	return out, err
}

// peek returns the next byte without consuming it.
func (s *scanner) peek() (byte, error) {
	if s.pos == s.end {
		s.fill(1)
		if s.pos == s.end {
			return 0, s.ended()
		}
	}
	return s.buf[s.pos], nil
}

// ended says why there are no more bytes.
func (s *scanner) ended() error {
	if errors.Is(s.readErr, io.EOF) {
		return fault{"the JSON ends too early"}
	}
	return s.readErr
}

// space skips white space and returns the byte after it, unconsumed.
func (s *scanner) space() (byte, error) {
	for {
		c, err := s.peek()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, nil
		}
		s.pos++
	}
}

// expect consumes one byte after white space.
func (s *scanner) expect(want byte, text string) error {
	c, err := s.space()
	if err != nil {
		return err
	}
	if c != want {
		return fault{text}
	}
	s.pos++
	return nil
}

// value consumes one JSON value.
func (s *scanner) value(depth int) error {
	c, err := s.space()
	if err != nil {
		return err
	}
	switch {
	case depth > maxDepth:
		return fault{"the JSON is nested too deeply"}
	case c == '{':
		return s.members(func() error { return s.value(depth + 1) })
	case c == '[':
		return s.items(func() error { return s.value(depth + 1) })
	case c == '"':
		return s.text()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return fault{"a JSON value is expected"}
}

// members consumes an object whose keys it skips.
func (s *scanner) members(value func() error) error {
	return s.sequence('{', '}', func() error {
		if c, err := s.space(); err != nil {
			return err
		} else if c != '"' {
			return fault{"a key in quotes is expected"}
		}
		if err := s.text(); err != nil {
			return err
		}
		if err := s.expect(':', "a colon is expected after a key"); err != nil {
			return err
		}
		return value()
	})
}

// items consumes an array.
func (s *scanner) items(item func() error) error { return s.sequence('[', ']', item) }

// sequence consumes what stands between brackets, separated by commas.
func (s *scanner) sequence(opening, closing byte, item func() error) error {
	if err := s.expect(opening, "an opening bracket is expected"); err != nil {
		return err
	}
	c, err := s.space()
	if err != nil {
		return err
	}
	if c == closing {
		s.pos++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		c, err := s.space()
		if err != nil {
			return err
		}
		switch c {
		case closing:
			s.pos++
			return nil
		case ',':
			s.pos++
		default:
			return fault{"a comma or a closing bracket is expected"}
		}
	}
}

// text consumes a string, the opening quote included.
func (s *scanner) text() error {
	s.pos++
	for {
		for s.pos < s.end && plain[s.buf[s.pos]] {
			s.pos++
		}
		c, err := s.peek()
		switch {
		case err != nil:
			return err
		case plain[c]:
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return fault{"a string holds a control character that is not escaped"}
		default:
			s.rune()
		}
	}
}

// plain are the bytes of a string that need no look.
var plain = func() (table [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// rune consumes one character beyond ASCII. Bad bytes do not disturb the structure,
// so the scan goes on, and whoever owns the value refuses it.
func (s *scanner) rune() {
	s.fill(utf8.UTFMax)
	r, size := utf8.DecodeRune(s.buf[s.pos:s.end])
	if r == utf8.RuneError && size == 1 {
		s.badUTF8 = true
	}
	s.pos += size
}

func (s *scanner) escape() error {
	s.fill(6)
	rest := s.buf[s.pos:s.end]
	if len(rest) < 2 {
		s.pos = s.end
		return s.ended()
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
		if len(rest) < 6 {
			s.pos = s.end
			return s.ended()
		}
		for _, c := range rest[2:6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return fault{"an escape in a string is not valid"}
			}
		}
		s.pos += 6
		return nil
	}
	return fault{"an escape in a string is not valid"}
}

func (s *scanner) word(want string) error {
	s.fill(len(want))
	if s.end-s.pos < len(want) || string(s.buf[s.pos:s.pos+len(want)]) != want {
		return fault{"a JSON value is expected"}
	}
	s.pos += len(want)
	return nil
}

// number consumes a number: -? int frac? exp?.
func (s *scanner) number() error {
	bad := fault{"a number is not valid"}
	if s.take('-', '-') {
		if c, err := s.peek(); err != nil {
			return err
		} else if c < '0' || c > '9' {
			return bad
		}
	}
	if !s.take('0', '0') && s.digits() == 0 {
		return bad
	}
	if s.take('.', '.') && s.digits() == 0 {
		return bad
	}
	if s.take('e', 'e') || s.take('E', 'E') {
		_ = s.take('+', '+') || s.take('-', '-')
		if s.digits() == 0 {
			return bad
		}
	}
	return nil
}

func (s *scanner) take(low, high byte) bool {
	c, err := s.peek()
	if err != nil || c < low || c > high {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) digits() int {
	n := 0
	for s.take('0', '9') {
		n++
	}
	return n
}
