package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/demo"
	"github.com/carekeep/carekeep/libs/devkit"
)

// The whole story of `make demo`, from the import of real bundles to the
// restored cluster whose log verifies; its twelfth step looks for known
// plaintexts in every file that the suite has written.
func TestDH03_TheStoryPlaysAndLeavesNoPlaintext(t *testing.T) {
	require.NoError(t, demo.Run(t.Context(), demo.Options{
		Place: suite.Place, People: users.Credentials, Out: t.Output(),
		Bundles: filepath.Join(devkit.Root(), "..", "shared", "fhir"),
	}))
}
