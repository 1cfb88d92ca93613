package network

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDH40_NetworksAreTheSlash24AndTheSlash48(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ address, of, client, wide string }{
		{"192.0.2.17", "192.0.2.0/24", "192.0.2.17", "192.0.0.0/16"},
		{"::ffff:192.0.2.17", "192.0.2.0/24", "192.0.2.17", "192.0.0.0/16"},
		{"2001:db8:1:2::3", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8::/32"},
		{"fe80::1%eth0", "fe80::/48", "fe80::/64", "fe80::/32"},
		{"2001:DB8:1:2::9", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8::/32"},
		{"", "", "", ""},
		{"192.0.2", "", "", ""},
	} {
		require.Equal(t, c.of, Of(c.address), c.address)
		require.Equal(t, c.client, Client(c.address), c.address)
		require.Equal(t, c.wide, Wide(c.address), c.address)
	}
}
