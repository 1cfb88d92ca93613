package strictjson

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Number reads a number and returns it as it is written.
func (r *Reader) Number() ([]byte, error) {
	r.space()
	start := r.pos
	if r.pos < len(r.raw) && r.raw[r.pos] == '-' {
		r.pos++
	}
	zero := r.pos < len(r.raw) && r.raw[r.pos] == '0'
	if n := r.digits(); n == 0 || zero && n > 1 {
		return nil, r.fault(ReasonMalformed, "a number is malformed")
	}
	if r.pos < len(r.raw) && r.raw[r.pos] == '.' {
		r.pos++
		if r.digits() == 0 {
			return nil, r.fault(ReasonMalformed, "a number is malformed")
		}
	}
	if r.pos < len(r.raw) && (r.raw[r.pos] == 'e' || r.raw[r.pos] == 'E') {
		if err := r.exponent(); err != nil {
			return nil, err
		}
	}
	if r.pos-start > maxNumber {
		return nil, r.fault(ReasonNumber, "a number has too many digits: 64 characters are the most")
	}
	return r.raw[start:r.pos], nil
}

func (r *Reader) digits() int {
	start := r.pos
	for r.pos < len(r.raw) && r.raw[r.pos] >= '0' && r.raw[r.pos] <= '9' {
		r.pos++
	}
	return r.pos - start
}

func (r *Reader) exponent() error {
	r.pos++
	if r.pos < len(r.raw) && (r.raw[r.pos] == '+' || r.raw[r.pos] == '-') {
		r.pos++
	}
	n := r.digits()
	if n == 0 {
		return r.fault(ReasonMalformed, "a number is malformed")
	}
	digits := bytes.TrimLeft(r.raw[r.pos-n:r.pos], "0")
	if value, _ := strconv.Atoi("0" + string(digits[:min(len(digits), 4)])); value > maxExponent {
		return r.fault(ReasonNumber, "a number has an exponent beyond 308")
	}
	return nil
}

// Text reads a string and returns what it says. It is part of the document where it
// has no escapes: it must not be changed.
func (r *Reader) Text() ([]byte, error) {
	r.space()
	r.pos++
	start := r.pos
	for r.pos < len(r.raw) {
		switch c := r.raw[r.pos]; {
		case c == '"':
			r.pos++
			return r.raw[start : r.pos-1], nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return nil, r.fault(ReasonText, "a string has a control character that is not escaped")
		}
		r.pos++
	}
	return nil, r.fault(ReasonMalformed, "the JSON ends too early")
}

// escaped reads on where a string has its first escape.
func (r *Reader) escaped(start int) ([]byte, error) {
	out := append(make([]byte, 0, r.pos-start+64), r.raw[start:r.pos]...)
	for r.pos < len(r.raw) {
		c := r.raw[r.pos]
		r.pos++
		switch {
		case c == '"':
			return out, nil
		case c < ' ':
			return nil, r.fault(ReasonText, "a string has a control character that is not escaped")
		case c != '\\':
			out = append(out, c)
			continue
		}
		char, err := r.escape()
		if err != nil {
			return nil, err
		}
		out = utf8.AppendRune(out, char)
	}
	return nil, r.fault(ReasonMalformed, "the JSON ends too early")
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what follows a backslash.
func (r *Reader) escape() (rune, error) {
	if r.pos == len(r.raw) {
		return 0, r.fault(ReasonMalformed, "the JSON ends too early")
	}
	c := r.raw[r.pos]
	r.pos++
	if c != 'u' {
		char, ok := escapes[c]
		if !ok {
			return 0, r.fault(ReasonMalformed, "a string has an escape that JSON does not know")
		}
		return char, nil
	}
	first, err := r.unit()
	switch {
	case err != nil:
		return 0, err
	case first == 0:
		return 0, r.fault(ReasonText, "a string has the character NUL: leave it out")
	case !utf16.IsSurrogate(first):
		return first, nil
	}
	if bytes.HasPrefix(r.raw[r.pos:], []byte(`\u`)) {
		r.pos += 2
		second, err := r.unit()
		if err != nil {
			return 0, err
		}
		if pair := utf16.DecodeRune(first, second); pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, r.fault(ReasonText, "a string has half of a surrogate pair, which is no character")
}

// unit reads four hexadecimal digits.
func (r *Reader) unit() (rune, error) {
	if len(r.raw)-r.pos < 4 {
		return 0, r.fault(ReasonMalformed, "the JSON ends too early")
	}
	value, err := strconv.ParseUint(string(r.raw[r.pos:r.pos+4]), 16, 16)
	if err != nil {
		return 0, r.fault(ReasonMalformed, "a string has an escape that JSON does not know")
	}
	r.pos += 4
	return rune(value), nil
}
