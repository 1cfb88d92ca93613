package sms_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/sms"
)

// stops are the words of rules.md 2.5.
var stops = []string{"stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe", "STOPALL", "OPTOUT"}

// wide writes a word in full-width letters, as some keyboards do.
func wide(word string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r <= '~' {
			return r + 0xfee0
		}
		return r
	}, word)
}

func variants(word string) []string {
	spaced := strings.Join(strings.Split(strings.ReplaceAll(word, " ", ""), ""), " ")
	return []string{
		word, strings.ToUpper(word), strings.ToLower(word), strings.ToUpper(word[:1]) + word[1:], " " + word + "\r\n", word + ".", word + "!!!",
		"\"" + word + "\"", "(" + word + ")", strings.ReplaceAll(word, " ", "-"), strings.ReplaceAll(word, " ", "_"),
		strings.ReplaceAll(word, " ", "  "), spaced, wide(word), wide(strings.ToUpper(word)), word + "\u200b", "\ufeff" + word,
		"*" + word + "* 🛑", word + " " + word, strings.ReplaceAll(word, " ", "\u00a0"), word + "\u0301",
	}
}

func TestDMD28_EveryVariantOfEveryKeywordMeansStop(t *testing.T) {
	t.Parallel()
	for _, word := range stops {
		for _, reply := range variants(word) {
			require.Equal(t, sms.MeaningStop, sms.Classify(reply), "%q", reply)
		}
	}
	require.Equal(t, sms.MeaningStop, sms.Classify("Stop, cancel, end!"))
	require.Equal(t, sms.MeaningStop, sms.Reply{Body: "arrêter", OptOut: true}.Means(), "the provider understood it")
}

func TestDMD28_HelpAndStartAreNoStopAndTheRestIsForAPerson(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"HELP", "help", "Help?", "INFO", wide("help"), " h e l p "} {
		require.Equal(t, sms.MeaningHelp, sms.Classify(reply), "%q", reply)
	}
	for _, reply := range []string{"START", "unstop"} {
		require.Equal(t, sms.MeaningStart, sms.Classify(reply), "%q", reply)
	}
	for _, reply := range []string{
		"", "  ", "ok", "please stop texting me", "do not stop", "stop please", "the end", "help stop", "who is this", "STOPP", "yes", "ЅТОР",
		strings.Repeat("stop ", 100),
	} {
		require.Equal(t, sms.MeaningUnclear, sms.Classify(reply), "%q", reply)
	}
}

func FuzzClassify(f *testing.F) {
	for _, word := range append(stops, "help", "start", "ok", "\xff", "ﬁn") {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		meaning := sms.Classify(reply)
		if len(reply) > 100 {
			return
		}
		// What surrounds a reply without saying anything changes nothing.
		if got := sms.Classify(" " + strings.ToValidUTF8(reply, "?") + "! "); strings.ToValidUTF8(reply, "?") == reply && got != meaning {
			t.Fatalf("%q means %d, with a space and a mark %d", reply, meaning, got)
		}
	})
}
