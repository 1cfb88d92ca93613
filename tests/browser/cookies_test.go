package browser

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
)

// At each step the browser gets another cookie, and the one before opens nothing.
// A cookie from before signing in is worth nothing after it.
func TestDC12_OldCookiesDie(t *testing.T) {
	person := users.Person(seed.Brown)
	planted := sessionCookie + "=cks_" + strings.Repeat("A", 43)
	first := cookieCall(t, "POST", "/v1/auth:signIn", fmt.Sprintf(`{"username":%q,"password":%q}`, person.Username, person.Password), planted)
	require.Equal(t, http.StatusOK, first.StatusCode)
	device := "; " + jar(first, deviceCookie)
	require.NotEqual(t, "; ", device)
	one := jar(first, sessionCookie) + device
	require.NotContains(t, one, planted)
	require.Equal(t, http.StatusUnauthorized, cookieCall(t, "GET", "/v1/self", "", jar(first, sessionCookie)).StatusCode, "without the device's cookie it opens nothing")
	require.Equal(t, http.StatusOK, cookieCall(t, "GET", "/v1/self", "", one).StatusCode)
	require.Equal(t, http.StatusUnauthorized, cookieCall(t, "GET", "/v1/self", "", planted).StatusCode)

	two := ""
	for code := range codesOf(t, person) {
		if raised := cookieCall(t, "POST", "/v1/auth:verifyTotp", fmt.Sprintf(`{"totpCode":%q}`, code), one); raised.StatusCode == http.StatusOK {
			two = jar(raised, sessionCookie) + device
			break
		}
	}
	require.NotEmpty(t, two, "a code is taken")
	require.NotEqual(t, one, two)
	require.Equal(t, http.StatusUnauthorized, cookieCall(t, "GET", "/v1/self", "", one).StatusCode, "the cookie before the second factor is dead")
	require.Equal(t, http.StatusOK, cookieCall(t, "GET", "/v1/patients", "", two).StatusCode)
}

// jar is a cookie that an answer sets, as it comes back.
func jar(r *http.Response, name string) string {
	for _, c := range r.Cookies() {
		if c.Name == name {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// cookieCall sends a request as a browser of the gateway's own pages would.
func cookieCall(t *testing.T, method, path, body, cookies string) *http.Response {
	t.Helper()
	client, err := suite.Client()
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, suite.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Cookie", cookies)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	request.Header.Set("X-Session-Transport", "cookie")
	request.Header.Set("X-Purpose-Of-Use", "OPERATIONS")
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}
