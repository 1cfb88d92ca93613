package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"unicode"
)

// What auth takes of a user agent and of Accept-Language, in bytes.
const (
	maxAgent    = 512
	maxLanguage = 128
)

// Proxies are the networks whose X-Forwarded-For and traceparent are believed.
type Proxies []netip.Prefix

// ParseProxies reads networks such as 10.0.0.0/8.
func ParseProxies(networks []string) (Proxies, error) {
	out := make(Proxies, 0, len(networks))
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q is not a network such as 10.0.0.0/8", n)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (p Proxies) contains(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// client finds the client's address: the right-most hop that is no trusted proxy.
// What stands left of it was written by that hop and proves nothing. The result
// also says whether the connection itself comes from a trusted proxy.
func (p Proxies) client(r *http.Request) (address string, proxied bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "", false
	}
	found := peer.Addr().Unmap()
	if !p.contains(found) {
		return found.String(), false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		found = hop
		if !p.contains(hop) {
			break
		}
	}
	return found.String(), true
}

func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap().WithZone(""), err == nil
}

// agent returns the user agent, language the Accept-Language, as text that auth stores.
func agent(r *http.Request) string { return clean(r.UserAgent(), maxAgent) }

func language(r *http.Request) string { return clean(r.Header.Get("Accept-Language"), maxLanguage) }

// clean leaves of a header what can be printed, up to a number of bytes.
func clean(header string, limit int) string {
	text := strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, header)
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}
