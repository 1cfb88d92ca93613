package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a header holds: no token, an error, or one that auth can take as it is.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{
		"", "Bearer", "Bearer ", "Bearer cks_abc", "bearer cks_abc", "Bearer  cks_abc", "Bearer a b", "Basic YTpi", "Bearer a\x00b",
		"Bearer \xff", "Bearer " + strings.Repeat("x", 128), "Bearer " + strings.Repeat("x", 129), "Bearer a,Bearer b",
	} {
		f.Add(seed, false)
	}
	f.Add("Bearer a", true)
	f.Fuzz(func(t *testing.T, header string, twice bool) {
		values := []string{header}
		if twice {
			values = append(values, header)
		}
		token, err := bearer(values)
		if err != nil {
			require.Empty(t, token)
			return
		}
		require.False(t, twice)
		require.True(t, visible(token, maxToken))
		require.Equal(t, "bearer "+token, strings.ToLower(header[:7])+header[7:])
	})
}

// Whatever a Cookie header holds: no token, an error, or exactly one that auth can take.
func FuzzSessionCookie(f *testing.F) {
	const name = sessionCookie + "="
	for _, seed := range []string{
		"", name, name + "cks_abc", name + `"cks_abc"`, "a=b; " + name + "x", name + "a; " + name + "b", strings.ToLower(name) + "a",
		"__Host-carekeep-session", name + "a b", name + "\x00", name + "\xff", " " + name + "x;;", name + strings.Repeat("x", 129),
		deviceCookie + "=d; " + name + "s", deviceCookie + "=d; " + deviceCookie + "=e", strings.Repeat("a=b; ", 200),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Cookie": {header}}}
		token, err := cookieToken(r)
		if err != nil {
			require.Empty(t, token)
		} else if token != "" {
			require.True(t, visible(token, maxToken))
			require.Contains(t, header, token)
			require.Equal(t, 1, len(r.CookiesNamed(sessionCookie)))
		}
		if device := deviceToken(r, true); device != "" {
			require.True(t, visible(device, maxDevice))
			require.Contains(t, header, device)
		}
		s := readSession(r)
		require.Equal(t, token, s.token)
		require.Equal(t, len(r.CookiesNamed(sessionCookie)) > 0, s.cookies, "a cookie that is there, good or bad, is checked for its origin")
	})
}
