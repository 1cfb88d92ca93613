// Package golden compares lines with a list that was reviewed and stands beside
// the test. Only tests import it.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the lists in testdata anew, for review, instead of comparing with them")

// Lines compares with testdata/{name}.golden.
func Lines(t *testing.T, name string, lines []string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		return
	}
	listed, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Split(strings.TrimSuffix(string(listed), "\n"), "\n"), lines,
		"this is not what stands in %s; if it should be, run the test with -update and have the change reviewed", file)
}
