package limit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworks(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2::":        "2001:db8:1:2::/64",
		"2001:DB8:1:2::9":       "2001:db8:1:2::/64",
		"fe80::1%eth0":          "fe80::/64",
		"":                      "",
		"what is no address":    "what is no address",
		"2001:db8:1:2::ffff/64": "2001:db8:1:2::ffff/64",
	} {
		require.Equal(t, want, network(address), address)
	}
}

func TestKeysNameNobodyAndDoNotCollide(t *testing.T) {
	t.Parallel()
	one, two := &Limiter{key: []byte("k1")}, &Limiter{key: []byte("k2")}
	require.NotContains(t, string(one.hash("account", "dr.smith")), "smith")
	require.NotEqual(t, one.hash("account", "dr.smith"), two.hash("account", "dr.smith"), "no key, no guess")
	require.NotEqual(t, one.hash("account", "x"), one.hash("address", "x"))
	require.NotEqual(t, one.hash("a", "bc"), one.hash("ab", "c"))
}
