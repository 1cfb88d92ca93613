package browser

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

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

	// What a page keeps goes with the session: the answer to signing out sends Clear-Site-Data.
	browser.Eval[bool](tab, `(localStorage.setItem("note", "1"), caches.open("note").then(() => true))`)
	tab.Click("#sign-out")
	tab.Until(shown("start"))
	require.Zero(t, browser.Eval[int](tab, "localStorage.length"))
	require.Empty(t, browser.Eval[[]string](tab, "caches.keys()"))
	require.NotContains(t, cookiesIn(tab), sessionCookie)
	require.Equal(t, http.StatusUnauthorized, statusOf(tab, "GET", "/v1/patients"))
	kept := fmt.Sprintf("%s=%s; %s=%s", sessionCookie, session.Value, deviceCookie, cookiesIn(tab)[deviceCookie].Value)
	require.Equal(t, http.StatusUnauthorized, cookieCall(t, "GET", "/v1/self", "", kept).StatusCode, "the session ended on the server")
	require.Empty(t, tab.Problems())
}
