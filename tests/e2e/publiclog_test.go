package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/devkit/outside"
)

// A stranger who holds nothing but the log's key reads and verifies it through the gateway, without a session.
func TestDMD08_AnybodyVerifiesTheLogThroughTheGateway(t *testing.T) {
	key, err := os.ReadFile(filepath.Join(suite.Checkpoints(), "verifier.key"))
	require.NoError(t, err)
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	require.NoError(t, err)
	client, err := suite.Client()
	require.NoError(t, err)
	log := &outside.Log{Client: client, Prefix: suite.URL() + "/v1/log", Key: verifier}
	older, _, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	require.Positive(t, older.N)
	for _, index := range []int64{0, older.N / 2, older.N - 1} {
		entry, err := log.CheckEntry(t.Context(), older, index)
		require.NoError(t, err)
		require.Len(t, entry, 32)
	}
	newer, _, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	require.NoError(t, log.CheckGrowth(t.Context(), older, newer))
}
