package limit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysNameNobodyAndDoNotCollide(t *testing.T) {
	t.Parallel()
	one, two := &Limiter{key: []byte("k1")}, &Limiter{key: []byte("k2")}
	require.NotContains(t, string(one.hash("account", "dr.smith")), "smith")
	require.NotEqual(t, one.hash("account", "dr.smith"), two.hash("account", "dr.smith"), "no key, no guess")
	require.NotEqual(t, one.hash("account", "x"), one.hash("address", "x"))
	require.NotEqual(t, one.hash("a", "bc"), one.hash("ab", "c"))
}
