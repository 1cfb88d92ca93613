package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The address that counts is the one that the connection comes from: a forged header
// neither hides an attacker nor gets somebody else blocked.
func TestDH39_AForgedForwardedAddressChangesNothing(t *testing.T) {
	const attacker, victim = "127.0.9.1", "127.0.9.2"
	from := func(address string) func(method, path, body string, forged int) (int, string) {
		client, err := suite.ClientFrom(address)
		require.NoError(t, err)
		return func(method, path, body string, forged int) (int, string) {
			request, err := http.NewRequestWithContext(t.Context(), method, suite.URL()+path, strings.NewReader(body))
			require.NoError(t, err)
			request.Header.Set("Content-Type", "application/json")
			for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Grpc-Metadata-X-Forwarded-For"} {
				value := victim
				if forged > 0 {
					value = fmt.Sprintf("203.0.113.%d", forged)
				}
				if header == "Forwarded" {
					value = "for=" + value
				}
				request.Header.Set(header, value)
			}
			response, err := client.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			answer, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			if response.StatusCode == http.StatusTooManyRequests {
				assert.NotEmpty(t, response.Header.Get("Retry-After"))
			}
			return response.StatusCode, string(answer)
		}
	}
	attack, visit := from(attacker), from(victim)
	signIn := func(n int) string {
		return fmt.Sprintf(`{"username":"nobody-%d","password":"whatever it is"}`, n)
	}
	for n := range 5 {
		status, _ := attack(http.MethodPost, "/v1/auth:signIn", signIn(n), n+1)
		assert.Equal(t, http.StatusUnauthorized, status)
	}
	status, answer := attack(http.MethodPost, "/v1/auth:signIn", signIn(5), 6)
	assert.Equal(t, http.StatusTooManyRequests, status, "the sixth of one minute, whatever the header says")
	assert.Contains(t, answer, "SIGN_IN_LIMITED")

	// Ten points for the unknown names; probes make up the rest, in the name of the victim.
	require.Eventually(t, func() bool {
		status, _ := attack(http.MethodGet, "/.env", "", 0)
		assert.Equal(t, http.StatusNotFound, status)
		_, answer := attack(http.MethodPost, "/v1/auth:signIn", signIn(6), 0)
		return strings.Contains(answer, "ADDRESS_BLOCKED")
	}, 30*time.Second, 200*time.Millisecond, "never blocked")
	status, _ = visit(http.MethodPost, "/v1/auth:signIn", signIn(7), 0)
	assert.Equal(t, http.StatusUnauthorized, status, "the victim is served")
}
