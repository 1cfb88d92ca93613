package browser

import (
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

// withAuthenticator gives the tab an authenticator like that of a laptop, whose
// user says yes to everything.
func withAuthenticator(tab *browser.Tab) webauthn.AuthenticatorID {
	browser.Call(tab, webauthn.Enable, webauthn.EnableParams{})
	return browser.Call(tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	}).AuthenticatorID
}

// A browser registers a passkey, and then signs in with nothing else: no name, no password.
func TestDH26_ChromiumSignsInWithAPasskey(t *testing.T) {
	tab := open(t)
	authenticator := withAuthenticator(tab)
	person := users.Person(seed.Smith)

	signInByPage(t, tab, person)
	tab.Fill("passkey-name", "work laptop")
	tab.Click("#passkey-form button")
	tab.Until(refusedOr + `document.getElementById("status").textContent.includes("registered")`)
	require.Empty(t, tab.Text("message"))

	tab.Click("#sign-out")
	tab.Until(shown("start"))
	require.NotContains(t, cookiesIn(tab), sessionCookie)

	tab.Click("#passkey-sign-in")
	tab.Until(refusedOr + signedIn)
	require.Empty(t, tab.Text("message"))
	require.Contains(t, tab.Text("who"), person.Username)
	require.Contains(t, tab.Text("assurance"), "AAL2")
	session := cookiesIn(tab)[sessionCookie]
	require.True(t, session.HTTPOnly && session.Secure)
	require.Equal(t, 200, statusOf(tab, "GET", "/v1/patients"))

	// An authenticator that does not know its user opens nothing.
	tab.Click("#sign-out")
	tab.Until(shown("start"))
	browser.Call(tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: authenticator})
	tab.Click("#passkey-sign-in")
	tab.Until(refusedOr + signedIn)
	require.Contains(t, tab.Text("message"), "No passkey")
	require.NotContains(t, cookiesIn(tab), sessionCookie)
	require.Empty(t, tab.Problems())
}
