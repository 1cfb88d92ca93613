package browser

import (
	"fmt"
	"iter"
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
	refusedOr     = `document.getElementById("message").textContent !== "" || `
)

// shown says whether a section is; only one is at a time.
func shown(section string) string {
	return fmt.Sprintf(`!document.getElementById(%q).hidden`, section)
}

var signedIn = shown("account")

// open opens the sign-in page in a browser of its own, which trusts the gateway and
// whoever else is named.
func open(t *testing.T, others ...string) *browser.Tab {
	t.Helper()
	return openFrom(t, "", others...)
}

// openFrom opens it in a browser that connects from another address.
func openFrom(t *testing.T, address string, others ...string) *browser.Tab {
	t.Helper()
	tab := browser.New(t, browser.Options{Certificates: append(others, certificate(t, "edge")), From: address})
	tab.Do(chromedp.Navigate(suite.PageURL() + "/sign-in"))
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
				// Both codes that count now were used; the window moves on by itself.
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
	passwordByPage(tab, person)
	codeByPage(t, tab, person)
	require.Equal(t, "account-title", browser.Eval[string](tab, "document.activeElement.id"))
}

// passwordByPage comes as far as the second factor.
func passwordByPage(tab *browser.Tab, person *seed.Person) {
	tab.Fill("username", person.Username, "password", person.Password)
	tab.Click("#password-form button")
	tab.Until(refusedOr + shown("second"))
}

// codeByPage gives a one-time code of the app.
func codeByPage(t *testing.T, tab *browser.Tab, person *seed.Person) {
	t.Helper()
	for code := range codesOf(t, person) {
		tab.Fill("code", code)
		tab.Click("#code-form button")
		tab.Until(refusedOr + "!(" + shown("second") + ")")
		if tab.Text("message") == "" {
			return
		}
	}
	t.Fatalf("no code was taken: %s", tab.Text("message"))
}

// statusOf is the HTTP status that the page gets for a request with its cookies.
func statusOf(tab *browser.Tab, method, path string) int {
	return browser.Eval[int](tab, fmt.Sprintf(
		`fetch(%q, {method: %q, headers: {"Content-Type": "application/json", "X-Purpose-Of-Use": "OPERATIONS"}, body: %q === "POST" ? "{}" : undefined}).then((r) => r.status)`,
		path, method, method))
}

func cookiesIn(tab *browser.Tab) map[string]*network.Cookie {
	found := map[string]*network.Cookie{}
	for _, c := range browser.Call(tab, network.GetCookies, network.GetCookiesParams{}).Cookies {
		found[c.Name] = c
	}
	return found
}
