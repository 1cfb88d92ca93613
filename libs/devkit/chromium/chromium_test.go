package chromium

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFindsWhatWasUnpacked(t *testing.T) {
	top := t.TempDir()
	_, err := in(top)
	require.ErrorContains(t, err, "make install")
	program := filepath.Join(top, "usr/lib/chromium/chromium")
	require.NoError(t, os.MkdirAll(filepath.Dir(program), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(top, "usr/lib/x86_64-linux-gnu"), 0o700))
	require.NoError(t, os.WriteFile(program, nil, 0o700))
	found, err := in(top)
	require.NoError(t, err)
	require.Equal(t, program, found.Path)
	require.Contains(t, found.Env, "LD_LIBRARY_PATH="+filepath.Join(top, "usr/lib/x86_64-linux-gnu"))
}
