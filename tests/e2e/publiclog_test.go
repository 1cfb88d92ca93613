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

// The command line verifies the running server and the rows in its database, with nothing but the pinned key and
// the copies of checkpoints.
func TestDMD08_TheCommandLineVerifiesServerAndDatabase(t *testing.T) {
	c := newCommandLine(t)
	trust := []string{"audit", "verify", "--key", filepath.Join(suite.Checkpoints(), "verifier.key"), "--checkpoints", suite.Checkpoints()}
	live := append(trust[:len(trust):len(trust)], "--live", suite.URL(), "--ca", suite.CAFile())
	require.Contains(t, c.must("", live...).out, "verified now, 0 before")
	require.NotContains(t, c.must("", live...).out, ", 0 before", "the second time it goes on where it stopped")
	require.Contains(t, c.must("", append(trust, "--database", suite.ConfigFile("audit-verify"))...).out, "the log is whole")
}
