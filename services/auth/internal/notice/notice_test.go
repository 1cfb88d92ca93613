package notice

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every kind in the source has a text, and no text carries a link, a placeholder
// for anything but one detail, or room for a second line of the reader's own.
func TestEveryKindHasATextWithoutLinks(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "texts.go", nil, 0)
	require.NoError(t, err)
	kinds := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ident, typed := spec, ok && spec.Type != nil; typed && ident.Type.(*ast.Ident).Name == "Kind" {
			kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			kinds++
			require.Contains(t, texts, Kind(kind))
		}
		return true
	})
	require.Len(t, texts, kinds)
	at := time.Date(2026, 11, 26, 9, 30, 0, 0, time.UTC)
	for kind, text := range texts {
		require.Equal(t, 1, strings.Count(text.body, "%"), kind)
		m, err := Compose("dr.smith", kind, Details{What: "a\r\nBcc: x", Address: "192.0.2.1", UserAgent: "Firefox\x00"}, at)
		require.NoError(t, err)
		require.NotContains(t, m.Text, "://", kind)
		require.NotContains(t, m.Text, "\nBcc", kind)
		require.NotContains(t, m.Text, "\x00", kind)
		require.Contains(t, m.Text, "26 November 2026, 09:30 UTC")
		require.Equal(t, adviceAbout[kind] == "", strings.Contains(m.Text, "compromised"), "advice about the own account: %s", kind)
		require.NotContains(t, m.Text, "%!", kind)
		bare, err := Compose("dr.smith", kind, Details{}, at)
		require.NoError(t, err)
		require.NotContains(t, bare.Text, "()")
		require.NotContains(t, bare.Text, ": .")
	}
	_, err = Compose("dr.smith", "NONE", Details{}, at)
	require.Error(t, err)
}
