package index

import (
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Format is how values become tokens. Another one needs another generation of the index.
type Format struct {
	// Version counts changes of the rules of this file, and of the library that
	// reads phone numbers where it reads any differently.
	Version int
	// Region is where phone numbers without a country code are (ISO 3166-1), as "US".
	Region    string
	Phonetics bool
}

// Version is the format of new generations.
const Version = 1

// Identifier normalises the value of an identifier: compatibility forms alike
// (NFKC), upper case, letters and digits only, so that "123-45-6789" and "123456789"
// are found alike.
func Identifier(value string) string {
	return strings.Map(lettersAndDigits, norm.NFKC.String(strings.ToUpper(norm.NFKC.String(value))))
}

// Phone normalises a phone number to E.164, without its extension. It is empty
// where no number can be made out, and where it has fewer than 7 digits.
func Phone(number, region string) string {
	number = norm.NFKC.String(number)
	if len(number) > maxPhone {
		return ""
	}
	if trimmed := strings.TrimSpace(number); strings.HasPrefix(trimmed, "00") {
		number = "+" + trimmed[2:] // the international prefix of most countries
	}
	parsed, err := phonenumbers.Parse(number, region)
	if err != nil {
		return ""
	}
	e164 := phonenumbers.Format(parsed, phonenumbers.E164)
	if len(e164) <= minPhone {
		return ""
	}
	return e164
}

const (
	minPhone = 7 // digits; fewer are an extension or an emergency number, which many share
	maxPhone = 64
)

// Email normalises an address: the domain is case-insensitive, and no provider that
// patients use tells two mailboxes apart by case (RFC 5321 2.4).
func Email(address string) string {
	parsed, err := mail.ParseAddress(strings.TrimSpace(norm.NFKC.String(address)))
	if err != nil {
		return ""
	}
	return norm.NFKC.String(strings.ToLower(parsed.Address))
}

// strokes are letters that Unicode does not decompose though they are written
// without their stroke as often as accents are left out.
var strokes = strings.NewReplacer("ø", "o", "ł", "l", "đ", "d", "ð", "d", "ħ", "h", "ŧ", "t", "ı", "i", "æ", "ae", "œ", "oe", "þ", "th")

// Name normalises a personal name: compatibility decomposition (NFKD), case
// folded, without diacritics, punctuation and spaces; digits stay. "O'Brien-Núñez"
// becomes "obriennunez". Accents go because they are lost first where a name is
// spelt over the phone or typed on another keyboard; "ü" and "ue" stay two spellings.
func Name(name string) string {
	// ToLower settles Cherokee, of which x/text folds each case into the other.
	folded := norm.NFKD.String(strings.ToLower(cases.Fold().String(norm.NFKD.String(name))))
	return strokes.Replace(strings.Map(lettersAndDigits, folded))
}

// Date is the date itself where it is a real YYYY-MM-DD, otherwise empty: a
// partial date of FHIR (YYYY, YYYY-MM) has too few outcomes.
func Date(date string) string {
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return ""
	}
	return date
}

func exact(_ Format, s string) string { return strings.TrimSpace(s) }

func lettersAndDigits(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsDigit(r) {
		return r
	}
	return -1
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
