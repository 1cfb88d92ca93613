package recovery

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Whatever is typed, it is refused or read as sixteen letters of the alphabet, however it was
// written; and what counts as the same code has the same hash.
func FuzzNormal(f *testing.F) {
	for _, seed := range []string{
		"", "0123-4567-89AB-CDEF", "0123456789abcdef", " o123 i567-L9AB cdef ", "0123-4567-89AB-CDEFG", "0123-4567-89AB-CDE",
		"UUUU-UUUU-UUUU-UUUU", "0123\x004567-89AB-CDEF", "０１２３-4567-89AB-CDEF", "ſſſſ-ſſſſ-ſſſſ-ſſſſ", "ııııııııııııııııı", strings.Repeat("-", 64), "\xff\xfe",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, ok := normal(text)
		if !ok {
			require.Empty(t, strings.Trim(code, alphabet))
			return
		}
		require.Len(t, code, length)
		require.Empty(t, strings.Trim(code, alphabet))
		again, ok := normal(code)
		require.True(t, ok)
		require.Equal(t, code, again)
		s, user := &Codes{key: []byte("key")}, uuid.Nil
		require.Equal(t, s.hash(user, code), s.hash(user, text))
		require.NotEqual(t, s.hash(user, code), s.hash(uuid.Max, code))
	})
}

func TestEveryCodeThatIsDrawnIsRead(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		drawn := draw()
		require.Len(t, drawn, length+3)
		code, ok := normal(drawn)
		require.True(t, ok, drawn)
		require.Equal(t, strings.ReplaceAll(drawn, "-", ""), code)
		require.False(t, seen[code])
		seen[code] = true
	}
}
