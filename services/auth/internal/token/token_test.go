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

func FuzzPlausible(f *testing.F) {
	f.Add(New(Session))
	f.Add("cks_")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if Plausible(Session, text) && (len(text) != 47 || !strings.HasPrefix(text, "cks_") || strings.ContainsAny(text, "\r\n =")) {
			t.Fatalf("%q passed as a token", text)
		}
	})
}
