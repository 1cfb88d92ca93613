package browser

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

// Who is invited opens the link of the mail, chooses a password that the server finds
// good enough, sets up an authenticator app and is signed in. Until then every sign-in
// leads back to setting it up, even where a code by mail would do.
func TestChromiumAcceptsAnInvitation(t *testing.T) {
	const username, email, chosen = "dr.grey", "grey@hillside.example", "lantern orchid gravel tempo"
	admin := over(t, users.Person(seed.HillsideAdmin))
	post(t, admin, "/v1/users", &authv1.CreateUserRequest{
		Username: username, DisplayName: "Dr. Lee Grey", Email: email, Role: accessv1.RoleKind_ROLE_KIND_DOCTOR,
	}, nil)
	link := received(t, "mail", email, 0, `(https://\S+/invitation#\S+)`)

	tab := open(t)
	tab.Do(chromedp.Navigate(link))
	tab.Until(`location.href === "` + suite.PageURL() + `/invitation"`)
	setPassword(tab, "dr.grey dr.grey", "dr.grey dr.grey")
	require.Contains(t, tab.Text("message"), "your name, sign-in name or mail address")
	accessible(t, tab)
	tab.Click("#reveal")
	require.Equal(t, "text", browser.Eval[string](tab, `document.getElementById("password").type`))
	setPassword(tab, chosen, chosen)
	tab.Until(refusedOr + shown("enrol"))
	require.Equal(t, "enrol-title", browser.Eval[string](tab, "document.activeElement.id"))
	accessible(t, tab)

	// Whoever leaves here comes back to it.
	tab.Do(chromedp.Navigate(suite.PageURL() + "/sign-in"))
	tab.Until(refusedOr + signedIn)
	require.Contains(t, tab.Text("assurance"), "AAL1")
	tab.Click("#sign-out")
	tab.Until(shown("start"))
	acceptMail(t, admin, true)
	tab.Fill("username", username, "password", chosen)
	tab.Click("#password-form button")
	tab.Until(refusedOr + shown("enrol") + ` && document.getElementById("enrol-key").textContent !== ""`)
	require.Contains(t, tab.Text("enrol-others"), "by mail", "the practice accepts it; an app is better")
	for _, step := range []time.Duration{0, api.Step} {
		// The code's time may end while it is typed; the next is taken too.
		code, err := api.Code(tab.Text("enrol-key"), time.Now().Add(step))
		require.NoError(t, err)
		tab.Fill("enrol-code", code)
		tab.Click("#enrol-form button")
		tab.Until(refusedOr + signedIn)
		if browser.Eval[bool](tab, signedIn) {
			break
		}
	}
	require.Empty(t, tab.Text("message"))
	require.Contains(t, tab.Text("who"), username)
	require.Contains(t, tab.Text("assurance"), "AAL2")
	require.Empty(t, tab.Problems())
}
