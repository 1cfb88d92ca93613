package browser

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

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
	tab.Do(chromedp.Navigate(suite.PageURL() + "/sign-in"))
	tab.Until(signedIn)
	require.Empty(t, tab.Problems())
}

// Text that an attacker got into a page of the gateway becomes neither markup nor code.
func TestChromiumMakesNoMarkupOfText(t *testing.T) {
	tab := open(t)
	for _, attempt := range []string{
		`document.body.innerHTML = "<img src=x>"`, `document.write("<b>")`, `document.createElement("script").text = "1"`,
		`document.body.setAttribute("onclick", "1")`, `new DOMParser().parseFromString("<b>", "text/html")`,
	} {
		require.True(t, browser.Eval[bool](tab, `(() => { try { `+attempt+`; return false; } catch { return true; } })()`), attempt)
	}
	require.NotEmpty(t, tab.Problems(), "the browser reports each")
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
	</script>`, suite.PageURL())
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
