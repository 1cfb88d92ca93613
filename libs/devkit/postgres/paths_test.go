package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnpackedProgramsFindTheLibrariesBesideThem(t *testing.T) {
	top := filepath.Join(t.TempDir(), unpacked)
	folder := filepath.Join(top, "usr/lib/x86_64-linux-gnu")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.Equal(t, []string{"LD_LIBRARY_PATH=" + folder}, libraries(filepath.Join(top, "usr/lib/postgresql/15/bin")))
	require.Nil(t, libraries("/usr/lib/postgresql/15/bin"))
}
