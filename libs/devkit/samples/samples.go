// Package samples reads the synthetic FHIR R4 patients that lie beside the repository
// in ../shared/fhir.
package samples

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit"
)

// Bundles returns the bundle of each sample patient. Where there are none the test is
// skipped, which is no evidence: the same ways are tested with generated patients as well.
func Bundles(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(devkit.Root(), "..", "shared", "fhir", "*.json"))
	require.NoError(tb, err)
	if len(files) == 0 {
		tb.Skip("no sample patients beside the repository")
	}
	bundles := make([][]byte, len(files))
	for i, file := range files {
		bundles[i], err = os.ReadFile(file)
		require.NoError(tb, err)
	}
	return bundles
}
