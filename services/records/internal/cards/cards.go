// Package cards finds payment card numbers in text (claim DX-26), so that they can be
// refused: practices bill through a processor, and no card number is stored here. It
// knows the numbers' form (ISO/IEC 7812: issuer, length, Luhn's digit), never whether a
// card exists.
package cards

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// issuer is a range of issuer identification numbers of one length, and how long
// the cards' numbers are.
type issuer struct {
	from, to string
	lengths  []int
}

var (
	sixteen       = []int{16}
	sixteenOrMore = []int{16, 17, 18, 19}
	maestro       = []int{13, 14, 15, 16, 17, 18, 19}
)

// issuers are the schemes that are in use, by the ranges that they publish.
var issuers = []issuer{
	{"4", "4", []int{13, 16, 19}}, // Visa
	{"51", "55", sixteen},         // Mastercard
	{"2221", "2720", sixteen},
	{"34", "34", []int{15}}, // American Express
	{"37", "37", []int{15}},
	{"6011", "6011", sixteenOrMore}, // Discover
	{"644", "649", sixteenOrMore},
	{"65", "65", sixteenOrMore},         // Discover, RuPay, Elo, Troy
	{"300", "305", []int{14}},           // Diners Club
	{"3095", "3095", []int{14}},         //
	{"36", "36", []int{14, 19}},         //
	{"38", "39", []int{14, 16}},         //
	{"3528", "3589", sixteen},           // JCB
	{"62", "62", sixteenOrMore},         // UnionPay
	{"81", "82", sixteenOrMore},         // UnionPay, RuPay
	{"60", "60", sixteen},               // RuPay, Hipercard
	{"508", "508", sixteen},             // RuPay
	{"5018", "5018", maestro},           // Maestro
	{"5020", "5020", maestro},           //
	{"5038", "5038", maestro},           //
	{"5893", "5893", maestro},           //
	{"6304", "6304", maestro},           //
	{"6759", "6759", maestro},           //
	{"6761", "6763", maestro},           //
	{"5019", "5019", sixteen},           // Dankort
	{"2200", "2204", sixteen},           // Mir
	{"9792", "9792", sixteen},           // Troy
	{"5061", "5061", []int{16, 18, 19}}, // Verve
	{"636", "636", sixteenOrMore},       // InterPayment
}

// Form is how a number must be written to count.
type Form int

// Forms of a number.
const (
	// Any is a number in one piece or in groups.
	Any Form = iota
	// Grouped is a number in groups, as it is embossed on a card. It is for fields
	// that hold long numbers of another kind, such as record numbers.
	Grouped
	// Telephone is a number longer than any telephone's.
	Telephone
)

// Limits of a card number's length (ISO/IEC 7812-1; shorter ones are no longer issued).
const (
	shortest = 13
	longest  = 19
)

// uuids are ids in their text form: some have groups of digits alone that pass for a card.
var uuids = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)

// seeds is the line that Synthea writes into the narrative of each patient: its numbers are
// random and of a card's length.
var seeds = regexp.MustCompile(`\bPerson seed: -?[0-9]{1,19}\s+Population seed: -?[0-9]{1,19}\b`)

// In reports whether a text has a card number in it. Digits of every script count,
// and so do groups that spaces, dashes or points part.
func In(text string, form Form) bool {
	if !enoughDigits(text) {
		return false
	}
	for _, run := range runs(seeds.ReplaceAllString(uuids.ReplaceAllString(text, "x"), "x")) {
		if run.hasCard(form) {
			return true
		}
	}
	return false
}

// enoughDigits spares most texts a closer look: it reports whether as many digits as
// a card has may stand together. What is not ASCII may be a digit.
func enoughDigits(text string) bool {
	n := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9', c >= utf8.RuneSelf:
			if n++; n >= shortest {
				return true
			}
		case !separates(rune(c)):
			n = 0
		}
	}
	return false
}

// run is a number of groups of digits with nothing but separators between them.
type run struct {
	groups []string
	points bool // a point parts some of them
	phone  bool // a plus stands before it
}

// runs are the groups of digits in a text. Characters that cannot be seen do not
// part anything.
func runs(text string) []run {
	var out []run
	var now run
	var group []byte
	var before rune // the last character that can be seen
	gap := 0        // separators since the last digit
	end := func() {
		if len(group) > 0 {
			now.groups = append(now.groups, string(group))
			group = nil
		}
	}
	for _, c := range text {
		digit, isDigit := digitOf(c)
		switch {
		case isDigit:
			if len(now.groups) == 0 && len(group) == 0 {
				now.phone = before == '+'
			}
			group = append(group, digit)
			gap = 0
		case unicode.Is(unicode.Cf, c):
			continue
		case gap < maxGap && separates(c) && (len(group) > 0 || len(now.groups) > 0):
			end()
			gap++
			now.points = now.points || c == '.'
		default:
			end()
			if len(now.groups) > 0 {
				out = append(out, now)
			}
			now, gap = run{}, 0
		}
		before = c
	}
	if end(); len(now.groups) > 0 {
		out = append(out, now)
	}
	return out
}

// maxGap is how many separators may stand between two groups, such as " - ".
const maxGap = 3

func separates(c rune) bool {
	if c < utf8.RuneSelf {
		return c == ' ' || c == '-' || c == '.' || c == '_' || c >= '\t' && c <= '\r'
	}
	return unicode.Is(unicode.Zs, c) || unicode.Is(unicode.Pd, c) || unicode.IsSpace(c)
}

// digitOf reads a decimal digit of any script. Unicode keeps each script's ten in order.
func digitOf(c rune) (byte, bool) {
	if c < utf8.RuneSelf {
		return byte(c), c >= '0' && c <= '9'
	}
	if !unicode.Is(unicode.Nd, c) {
		return 0, false
	}
	for _, r := range unicode.Nd.R16 {
		if c >= rune(r.Lo) && c <= rune(r.Hi) {
			return '0' + byte((c-rune(r.Lo))%10), true
		}
	}
	for _, r := range unicode.Nd.R32 {
		if c >= rune(r.Lo) && c <= rune(r.Hi) {
			return '0' + byte((c-rune(r.Lo))%10), true
		}
	}
	return 0, false
}

func (r run) hasCard(form Form) bool {
	for first := range r.groups {
		number := ""
		for last := first; last < len(r.groups) && len(number) <= longest; last++ {
			number += r.groups[last]
			groups := r.groups[first : last+1]
			switch {
			case len(number) < shortest, len(number) > longest, !plausible(groups, r.points):
			case form == Telephone && len(number) <= maxPhone:
			case len(groups) == 1 && form == Grouped: // a record number
			case r.phone && first == 0 && len(number) <= maxPhone:
			case Valid(number):
				return true
			}
		}
	}
	return false
}

// maxPhone is how many digits a telephone number has at most (E.164).
const maxPhone = 15

// plausible reports whether a card's number is written in such groups: in one
// piece, in equal groups with a shorter last one, or as American Express and Diners Club do.
// A list of measurements is not.
func plausible(groups []string, points bool) bool {
	sizes := make([]int, len(groups))
	for i, g := range groups {
		sizes[i] = len(g)
	}
	if points && len(sizes) > 1 && slices.Min(sizes[:len(sizes)-1]) < 3 {
		return false
	}
	if slices.Equal(sizes, []int{4, 6, 5}) || slices.Equal(sizes, []int{4, 6, 4}) {
		return true
	}
	for _, size := range sizes[:len(sizes)-1] {
		if size != sizes[0] {
			return false
		}
	}
	return sizes[len(sizes)-1] <= sizes[0] || len(sizes) == 2 && sizes[0] >= 4
}

// Valid reports whether digits are the number of a card: an issuer's, of its
// length, with the right check digit.
func Valid(number string) bool {
	for _, i := range issuers {
		if len(number) < len(i.from) || !slices.Contains(i.lengths, len(number)) {
			continue
		}
		if prefix := number[:len(i.from)]; strings.Compare(prefix, i.from) >= 0 && strings.Compare(prefix, i.to) <= 0 {
			return luhn(number)
		}
	}
	return false
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(number string) bool {
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
