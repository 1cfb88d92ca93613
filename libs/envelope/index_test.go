package envelope

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func index(t testing.TB, b byte) *Index {
	x, err := NewIndex(bytes.Repeat([]byte{b}, KeySize))
	require.NoError(t, err)
	return x
}

func TestTokensTellKeysIndexesAndPartsApart(t *testing.T) {
	x := index(t, 1)
	require.Len(t, x.Token("phone", "5551234567"), 32)
	require.Equal(t, x.Token("phone", "5551234567"), index(t, 1).Token("phone", "5551234567"))
	for name, other := range map[string][]byte{
		"another practice": index(t, 2).Token("phone", "5551234567"),
		"another index":    x.Token("identifier", "5551234567"),
		"another value":    x.Token("phone", "5551234568"),
		"boundaries":       x.Token("phone", "555", "1234567"),
		"an empty part":    x.Token("phone", "", "5551234567"),
		"a digest":         x.Digest([]byte("5551234567")),
	} {
		require.NotEqual(t, x.Token("phone", "5551234567"), other, name)
	}
	require.NotEqual(t, x.Digest([]byte("a")), x.Digest([]byte("b")))
	require.Equal(t, x.Digest([]byte("a")), x.Digest([]byte("a")))
	require.NotEqual(t, x.Digest([]byte("a")), index(t, 2).Digest([]byte("a")))
}

func TestAnIndexKeyIsLongEnoughCopiedAndWiped(t *testing.T) {
	_, err := NewIndex(make([]byte, 16))
	require.Error(t, err)
	raw := bytes.Repeat([]byte{9}, KeySize)
	x, err := NewIndex(raw)
	require.NoError(t, err)
	before := x.Digest(nil)
	clear(raw)
	require.Equal(t, before, x.Digest(nil))
	x.Wipe()
	require.Panics(t, func() { x.Digest(nil) })
}
