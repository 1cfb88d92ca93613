package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

const (
	sessionCookie = "__Host-carekeep-session"
	deviceCookie  = "__Host-carekeep-device"
	signedIn      = `!document.getElementById("account").hidden`
	refusedOr     = `document.getElementById("message").textContent !== "" || `
)

// pageURL reaches the gateway by name: a passkey belongs to a name, never to an address.
func pageURL() string { return fmt.Sprintf("https://localhost:%d", suite.Ports.Gateway) }

// open opens the sign-in page in a browser of its own.
func open(t *testing.T, more ...string) *browser.Tab {
	t.Helper()
	tab := browser.New(t, append(more, certificate(t, "edge"))...)
	tab.Do(chromedp.Navigate(pageURL() + "/sign-in"))
	tab.Until(`document.activeElement.id === "username"`)
	return tab
}

// certificate is the file of an identity's certificate.
func certificate(t *testing.T, identity string) string {
	t.Helper()
	files, err := suite.CA().Issue(identity)
	require.NoError(t, err)
	return files.Certificate
}

// codesOf are the one-time codes that may be taken now, and then the one that will
// be: another test may have used those that a person has.
func codesOf(t *testing.T, person *seed.Person) iter.Seq[string] {
	return func(yield func(string) bool) {
		for try := range 3 {
			now, ahead := time.Now(), api.Step
			if try == 0 {
				ahead = 0
			}
			if try == 2 {
				<-time.After(now.Truncate(api.Step).Add(api.Step).Sub(now))
			}
			code, err := api.Code(person.TotpSecret, time.Now().Add(ahead))
			require.NoError(t, err)
			if !yield(code) {
				return
			}
		}
	}
}

// signInByPage gives password and one-time code on the page. A code that was used
// already is refused like any wrong one; the next is then taken.
func signInByPage(t *testing.T, tab *browser.Tab, person *seed.Person) {
	t.Helper()
	tab.Fill("username", person.Username, "password", person.Password)
	tab.Click("#password-form button")
	for code := range codesOf(t, person) {
		tab.Fill("code", code)
		tab.Click("#code-form button")
		tab.Until(refusedOr + signedIn)
		if browser.Eval[bool](tab, signedIn) {
			return
		}
	}
	t.Fatalf("no code was taken: %s", tab.Text("message"))
}

// statusOf is the HTTP status that the page gets for a request with its cookies.
func statusOf(tab *browser.Tab, method, path string) int {
	return browser.Eval[int](tab, fmt.Sprintf(
		`fetch(%q, {method: %q, headers: {"Content-Type": "application/json"}, body: %q === "POST" ? "{}" : undefined}).then((r) => r.status)`,
		path, method, method))
}

func cookiesIn(tab *browser.Tab) map[string]*network.Cookie {
	found := map[string]*network.Cookie{}
	for _, c := range browser.Call(tab, network.GetCookies, network.GetCookiesParams{}).Cookies {
		found[c.Name] = c
	}
	return found
}

// A browser signs in on the page, keeps its session where no script finds it, and signs out.
func TestDC28_ChromiumSignsInAndOut(t *testing.T) {
	tab := open(t)
	person := users.Person(seed.Jones)

	tab.Fill("username", person.Username, "password", "wrong")
	tab.Click("#password-form button")
	tab.Until(refusedOr + "false")

	signInByPage(t, tab, person)
	require.Contains(t, tab.Text("who"), person.Username)
	require.Contains(t, tab.Text("assurance"), "AAL2")
	require.Equal(t, http.StatusOK, statusOf(tab, "GET", "/v1/patients"))

	session := cookiesIn(tab)[sessionCookie]
	require.True(t, session.HTTPOnly && session.Secure && session.Path == "/" && session.SameSite == network.CookieSameSiteStrict)
	require.Empty(t, browser.Eval[string](tab, "document.cookie"))
	require.Zero(t, browser.Eval[int](tab, "localStorage.length + sessionStorage.length"))

	// Who comes back is still signed in.
	tab.Do(chromedp.Reload())
	tab.Until(signedIn)

	tab.Click("#sign-out")
	tab.Until(`!document.getElementById("start").hidden`)
	require.NotContains(t, cookiesIn(tab), sessionCookie)
	require.Equal(t, http.StatusUnauthorized, statusOf(tab, "GET", "/v1/patients"))
	kept := fmt.Sprintf("%s=%s; %s=%s", sessionCookie, session.Value, deviceCookie, cookiesIn(tab)[deviceCookie].Value)
	require.Equal(t, http.StatusUnauthorized, cookieCall(t, "GET", "/v1/self", "", kept).StatusCode, "the session ended on the server")
	require.Empty(t, tab.Problems())
}

// A page of the same site but another origin, to which even a strict cookie goes,
// can neither act nor read in the name of whoever is signed in.
func TestDC20_ChromiumSendsAnAttackersRequestInVain(t *testing.T) {
	attacker := attackersServer(t)
	tab := open(t, certificate(t, "attacker"))
	signInByPage(t, tab, users.Person(seed.Nurse))
	before := crossOrigins(t)
	tab.Do(chromedp.Navigate(attacker))
	tab.Until(`document.title === "done"`)
	require.Equal(t, before+2, crossOrigins(t), "the cookie went along, and was refused")
	tab.Do(chromedp.Navigate(pageURL() + "/sign-in"))
	tab.Until(signedIn)
	require.Empty(t, tab.Problems())
}

// attackersServer serves a page on another port of the gateway's host that, as
// soon as it is open, sends what needs no preflight.
func attackersServer(t *testing.T) string {
	files, err := suite.CA().Issue("attacker")
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	require.NoError(t, err)
	page := fmt.Sprintf(`<!doctype html><title>prize</title><link rel="icon" href="data:,"><script>
		const send = (path, options) => fetch(%q + path, {mode: "no-cors", credentials: "include", ...options}).catch(() => {});
		send("/v1/auth:signOut", {method: "POST", body: "{}"}).then(() => send("/v1/patients")).then(() => { document.title = "done"; });
	</script>`, pageURL())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	return "https://localhost:" + port
}

// crossOrigins counts what the gateway refused for its origin.
func crossOrigins(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(suite.Logs(), "gateway.log"))
	require.NoError(t, err)
	return bytes.Count(raw, []byte("CROSS_ORIGIN"))
}

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
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}
