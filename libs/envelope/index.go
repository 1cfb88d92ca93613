package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"runtime"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// The kinds of blind index token. The set is closed: a value with few possible
// outcomes alone (sex, birth date, state) can be found out from how often its
// token occurs, so there is no kind for it.
const (
	KindIdentifier    = "identifier"     // parts: system, value
	KindPhone         = "phone"          // parts: number
	KindNameBirthDate = "name+birthdate" // parts: one or more names, birth date
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

// Token is the blind index token (32 bytes) of a value, normalised here by the
// rules of its kind. It is nil where nothing is left to index: an empty
// identifier, a phone number of fewer than 7 digits, a birth date without a name. A kind
// outside the closed set panics, as does a wrong number of parts: both are
// mistakes in the code that calls, never in data.
func (x *Index) Token(kind string, parts ...string) []byte {
	normal, ok := normalise(kind, parts)
	if !ok {
		return nil
	}
	return x.sum("token/1/"+kind, normal...)
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

func normalise(kind string, parts []string) ([]string, bool) {
	switch {
	case kind == KindIdentifier && len(parts) == 2:
		value := Identifier(parts[1])
		return []string{parts[0], value}, value != ""
	case kind == KindPhone && len(parts) == 1:
		number := Phone(parts[0])
		return []string{number}, len(number) >= 7
	case kind == KindNameBirthDate && len(parts) >= 2:
		last := len(parts) - 1
		normal, some := make([]string, len(parts)), false
		for i, name := range parts[:last] {
			normal[i] = Name(name)
			some = some || normal[i] != ""
		}
		normal[last] = BirthDate(parts[last])
		return normal, some && normal[last] != ""
	}
	panic(fmt.Sprintf("envelope: no blind index of kind %q with %d parts", kind, len(parts)))
}

// Identifier normalises the value of an identifier: upper case, letters and
// digits only, so that "123-45-6789" and "123456789" are found alike. The system is exact.
func Identifier(value string) string {
	return strings.Map(lettersAndDigits, strings.ToUpper(value))
}

// Phone normalises a phone number: digits only, without a leading "+" or "00" and
// without the country code of the United States where 11 digits begin with 1.
func Phone(number string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
	digits = strings.TrimLeft(digits, "0") // 00 is the international prefix, a lone 0 the national one
	if len(digits) == 11 && digits[0] == '1' {
		return strings.TrimLeft(digits[1:], "0")
	}
	return digits
}

// Name normalises a personal name: compatibility decomposition (NFKD), case
// folded, without diacritics, punctuation and spaces; digits stay. "O'Brien-Núñez"
// becomes "obriennunez".
func Name(name string) string {
	folded := cases.Fold().String(norm.NFKD.String(name))
	return strings.Map(lettersAndDigits, norm.NFKD.String(folded))
}

// BirthDate is the date itself where it is a real YYYY-MM-DD, otherwise empty: a
// partial date of FHIR (YYYY, YYYY-MM) has too few outcomes.
func BirthDate(date string) string {
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return ""
	}
	return date
}

func lettersAndDigits(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsDigit(r) {
		return r
	}
	return -1
}
