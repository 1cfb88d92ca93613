package tiles

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

func TestPathsOfTilesHaveOneSpelling(t *testing.T) {
	for path, want := range map[string]tlog.Tile{
		"/tile/0/000":                 {H: 8, L: 0, N: 0, W: 256},
		"/tile/7/000.p/1":             {H: 8, L: 7, N: 0, W: 1},
		"/tile/1/x001/x234/067":       {H: 8, L: 1, N: 1234067, W: 256},
		"/tile/entries/x001/x234/067": {H: 8, L: -1, N: 1234067, W: 256},
		"/tile/entries/000.p/255":     {H: 8, L: -1, N: 0, W: 255},
		"/tile/0/x009/x999/x999/999":  {H: 8, L: 0, N: 9_999_999_999, W: 256},
		"/tile/0/x001/x234/067.p/12":  {H: 8, L: 0, N: 1234067, W: 12},
		"/tile/entries/x001/234.p/1":  {H: 8, L: -1, N: 1234, W: 1},
	} {
		got, ok := parse(path)
		require.True(t, ok, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{
		"/", "", "/tile", "/tile/", "/tile/0", "/tile/0/", "/tile/0/0", "/tile/00/000", "/tile/+1/000", "/tile/-1/000", "/tile/0/x000/001",
		"/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/0/000.p/01", "/tile/0/000.p", "/tile/8/000", "/tile/63/000", "/tile/data/000",
		"/tile/entries", "/tile/entries/", "/tile/entries/data/000", "/tile/8/0/000", "/tile/0/000/", "//tile/0/000", "/tile/0/../0/000",
		"/tile/0/x018/x014/x398/x509/x481/984", "/tile/0/x999/x999/x999/x999/x999/x999/x999/999", "/checkpoint/", "/entries/000",
	} {
		_, ok := parse(path)
		require.False(t, ok, path)
	}
}

// FuzzPath: whatever is taken is a tile that the tables can hold.
func FuzzPath(f *testing.F) {
	f.Add("/tile/0/x001/x234/067.p/12")
	f.Add("/tile/entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		tile, ok := parse(path)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, tile.N, int64(0))
		require.Positive(t, (tile.N+1)*256, path)
		require.True(t, tile.L >= -1 && tile.L <= maxLevel && tile.W >= 1 && tile.W <= 256, path)
	})
}
