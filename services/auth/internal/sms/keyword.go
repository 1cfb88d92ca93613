package sms

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Meaning is what a reply asks for.
type Meaning int

// What a reply can mean. Whatever is not known for sure is for somebody to read.
const (
	MeaningUnclear Meaning = iota
	MeaningStop
	MeaningHelp
	// MeaningStart asks for messages again; it lifts no opt-out.
	MeaningStart
)

// The words of 47 CFR 64.1200(a)(10), and what carriers take as well.
var keywords = map[string]Meaning{
	"stop": MeaningStop, "quit": MeaningStop, "end": MeaningStop, "revoke": MeaningStop, "optout": MeaningStop,
	"cancel": MeaningStop, "unsubscribe": MeaningStop, "stopall": MeaningStop,
	"help": MeaningHelp, "info": MeaningHelp,
	"start": MeaningStart, "unstop": MeaningStart,
}

// maxKeyword is the longest reply that is looked at as a keyword, in bytes: room for
// any punctuation around it, and for wide forms.
const maxKeyword = 256

// Classify reads a reply. Case, punctuation, spaces, marks above letters, invisible
// characters and wide forms make no difference, nor does saying stop twice.
func Classify(reply string) Meaning {
	if len(reply) > maxKeyword {
		return MeaningUnclear
	}
	words := strings.FieldsFunc(norm.NFKD.String(reply), unicode.IsSpace)
	for i, word := range words {
		words[i] = letters(word)
	}
	if meaning, ok := keywords[strings.Join(words, "")]; ok {
		return meaning
	}
	if onlyStops(words) {
		return MeaningStop
	}
	return MeaningUnclear
}

// onlyStops reports whether there are words and each means stop, alone or with the next one, as "opt out" does.
func onlyStops(words []string) bool {
	words = slices.DeleteFunc(words, func(word string) bool { return word == "" })
	for i := 0; i < len(words); i++ {
		if keywords[words[i]] == MeaningStop {
			continue
		}
		if i+1 == len(words) || keywords[words[i]+words[i+1]] != MeaningStop {
			return false
		}
		i++
	}
	return len(words) > 0
}

func letters(word string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, word)
}
