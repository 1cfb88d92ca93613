package password

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	zxcvbn "github.com/nbutton23/zxcvbn-go"
	"github.com/nbutton23/zxcvbn-go/match"
	"golang.org/x/text/unicode/norm"

	"github.com/carekeep/carekeep/libs/errs"
)

// Bounds of a password in characters, counted as Unicode code points (SP 800-63B-4
// section 3.1.1.2): fifteen where the password may stand alone, eight where a second
// factor is always asked for, and nobody may ask for more than sixty-four.
const (
	DefaultLength = 15
	LeastLength   = 8
	MostLength    = 64
	MaxLength     = 256
	MinScore      = 3
	// zxcvbn's time grows with the cube of the length; what comes after this many
	// characters can only make the password stronger.
	scored = 64
	// zxcvbn finds repeats of ASCII characters only.
	minDistinct = 4
)

// normalise makes one password out of the ways in which keyboards compose it (SP 800-63B: NFKC).
func normalise(password string) string { return norm.NFKC.String(password) }

// Policy is what an installation asks of a new password, besides what nobody can turn off.
type Policy struct {
	// MinLength is from LeastLength to MostLength.
	MinLength int `yaml:"min_length"`
}

// Check says whether a password may be chosen. Words are what an attacker knows
// about the user: sign-in name, display name, mail address. The error names
// the weakness and how to mend it, and never repeats the password.
func (p Policy) Check(field, password string, words []string) error {
	text := normalise(password)
	switch length := utf8.RuneCountInString(text); {
	case length < p.MinLength:
		return weak(field, fmt.Sprintf("use at least %d characters", p.MinLength))
	case length > MaxLength:
		return weak(field, fmt.Sprintf("use at most %d characters", MaxLength))
	}
	if distinct(text) < minDistinct {
		return weak(field, "this password is too easy to guess: it repeats the same characters")
	}
	if breached(text) {
		return weak(field, "this password is known from breaches, and attackers try it first; choose another")
	}
	known := split(words)
	for _, spelling := range []string{head(fold(text)), head(text)} {
		if result := zxcvbn.PasswordStrength(spelling, known); result.Score < MinScore {
			return weak(field, advice(result.MatchSequence))
		}
	}
	return nil
}

func distinct(text string) int {
	seen := map[rune]bool{}
	for _, r := range text {
		seen[r] = true
	}
	return len(seen)
}

// fold drops accents, so that "pässwörd" is found among the English words that zxcvbn knows.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(text))
}

func weak(field, advice string) error {
	return errs.New(errs.KindInvalid, "PASSWORD_WEAK", "choose a stronger password").WithField(field, advice)
}

func head(text string) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), scored)])
}

// split adds the parts of names and addresses to the words themselves.
func split(words []string) []string {
	all := []string{"carekeep"}
	for _, word := range words {
		word = strings.ToLower(fold(word))
		all = append(all, word)
		for _, part := range strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune(" .@-_+'", r) }) {
			if utf8.RuneCountInString(part) > 2 {
				all = append(all, part)
			}
		}
	}
	return all
}

// advice explains the part of the password that an attacker would guess with the least work per character.
func advice(sequence []match.Match) string {
	worst, least := "", math.Inf(1)
	for _, m := range sequence {
		length := float64(utf8.RuneCountInString(m.Token))
		if explained := reason(m); explained != "" && m.Entropy/length < least {
			worst, least = explained, m.Entropy/length
		}
	}
	const mend = "three or four unrelated words make a password that is strong and easy to remember"
	if worst == "" {
		return "this password is too easy to guess; make it longer: " + mend
	}
	return "this password is too easy to guess: it " + worst + "; " + mend
}

func reason(m match.Match) string {
	switch m.Pattern {
	case "dictionary":
		switch strings.TrimSuffix(m.DictionaryName, "_3117") { // leet spelling is no better
		case "user_inputs":
			return "contains your name, sign-in name or mail address"
		case "Passwords":
			return "contains one of the most common passwords"
		case "MaleNames", "FemaleNames", "Surname":
			return "contains a common name"
		}
		return "contains a common word"
	case "spatial":
		return "follows neighbouring keys of a keyboard"
	case "repeat":
		return "repeats the same characters"
	case "sequence":
		return "contains a sequence such as abc or 123"
	case "date":
		return "contains a date"
	}
	return ""
}
