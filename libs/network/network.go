// Package network says which addresses belong together: those that one client can
// easily speak from, those of one place, and those that are near each other. It
// knows nothing of where on earth an address is.
package network

import "net/netip"

// Of is the network that a session is verified in: the /24 of an IPv4 address, the
// /48 of an IPv6 one (claim DH-40). An IPv4 address written as IPv6 is IPv4. Empty
// for what is no address.
func Of(address string) string { return prefix(address, 24, 48) }

// Client is what one client can easily speak from: an IPv4 address, or the /64
// that an IPv6 client picks its addresses from.
func Client(address string) string { return prefix(address, 32, 64) }

// Wide is the neighbourhood outside of which two clients are far from each other:
// /16 and /32, about what one provider gives out in one region.
func Wide(address string) string { return prefix(address, 16, 32) }

func prefix(address string, four, six int) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	bits := six
	if ip.Is4() {
		bits = four
	}
	if bits == ip.BitLen() {
		return ip.String()
	}
	p, _ := ip.Prefix(bits) // fails only for more bits than an address has
	return p.String()
}
