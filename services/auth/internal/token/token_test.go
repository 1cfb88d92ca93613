package token

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	a, b := New(Session), New(Session)
	require.NotEqual(t, a, b)
	require.True(t, strings.HasPrefix(a, "cks_"))
	require.True(t, Plausible(Session, a))
	require.False(t, Plausible(Invitation, a))
	require.Len(t, Hash(a), 32)
	require.NotEqual(t, Hash(a), Hash(b))
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// What passes is a token of one kind: as long as a new one, without anything that a header, a
// cookie or a log reads in its own way.
func FuzzPlausible(f *testing.F) {
	kinds := []Kind{Session, Invitation, Browser, Reset}
	for _, kind := range kinds {
		f.Add(New(kind))
		f.Add(string(kind))
		f.Add(New(kind) + "\n")
		f.Add(" " + New(kind))
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		passed := 0
		for _, kind := range kinds {
			if !Plausible(kind, text) {
				continue
			}
			passed++
			if len(text) != len(New(kind)) || !strings.HasPrefix(text, string(kind)) || strings.Trim(text, alphabet) != "" {
				t.Fatalf("%q passed as a token", text)
			}
		}
		if passed > 1 {
			t.Fatalf("%q passed as tokens of several kinds", text)
		}
	})
}
