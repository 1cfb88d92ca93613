package outside

import (
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheVerifierImportsNothingOfOurs(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "outside.go", nil, parser.ImportsOnly)
	require.NoError(t, err)
	require.NotEmpty(t, file.Imports)
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		require.True(t, !strings.Contains(path, ".") || strings.HasPrefix(path, "golang.org/x/mod/"), path)
	}
}
