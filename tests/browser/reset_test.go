package browser

import (
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

// setPassword gives a new password twice.
func setPassword(tab *browser.Tab, password, again string) {
	tab.Fill("password", password, "again", again)
	tab.Click("#choose-form button[type=submit]")
	tab.Until(refusedOr + `location.pathname === "/sign-in" || ` + shown("done"))
}

// Who forgot the password asks for a mail, and chooses a new one behind its link: the
// server says why one is weak, which costs nothing. The link counts once, and the
// second factor stays.
func TestChromiumResetsAForgottenPassword(t *testing.T) {
	person := users.Person(seed.Admin)
	tab := open(t)
	tab.Click(`a[href="/reset"]`)
	tab.Until(`location.pathname === "/reset" && ` + shown("ask"))
	const answer = `document.getElementById("status").textContent.includes("If there is such an account")`
	for _, name := range []string{"nobody.of.that.name", person.Username} {
		tab.Fill("username", name)
		tab.Click("#ask-form button")
		tab.Until(refusedOr + answer)
	}
	accessible(t, tab)
	link := received(t, "mail", person.Email, 0, `(https://\S+/reset#\S+)`)

	// The page is open: the link loads it anew.
	browser.Eval[bool](tab, "(location.assign("+strconv.Quote(link)+"), true)")
	tab.Until(shown("choose"))
	require.Equal(t, suite.PageURL()+"/reset", browser.Eval[string](tab, "location.href"), "no token stays in the history")
	require.Equal(t, "choose-title", browser.Eval[string](tab, "document.activeElement.id"))

	setPassword(tab, "walnut harbour cobalt", "walnut harbour")
	require.Contains(t, tab.Text("message"), "differ")
	setPassword(tab, "passwordpassword1", "passwordpassword1")
	require.Contains(t, tab.Text("message"), "most common passwords")
	require.Contains(t, tab.Text("message"), "unrelated words")
	require.Equal(t, "true", browser.Eval[string](tab, `document.getElementById("password").ariaInvalid`))
	require.Equal(t, "message", browser.Eval[string](tab, "document.activeElement.id"))

	accessible(t, tab)

	const chosen = "walnut harbour cobalt fiddle"
	setPassword(tab, chosen, chosen)
	require.Empty(t, tab.Text("message"))
	require.Equal(t, "done-title", browser.Eval[string](tab, "document.activeElement.id"))

	accessible(t, tab)
	tab.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(link))
	tab.Until(shown("choose"))
	setPassword(tab, chosen+" again", chosen+" again")
	require.Contains(t, tab.Text("message"), "used")
	require.True(t, browser.Eval[bool](tab, shown("ask")), "another link can be asked for")

	tab.Click(`#ask a[href="/sign-in"]`)
	tab.Until(`location.pathname === "/sign-in" && document.activeElement.id === "username"`)
	tab.Fill("username", person.Username, "password", person.Password)
	tab.Click("#password-form button")
	tab.Until(refusedOr + shown("second"))
	require.Contains(t, tab.Text("message"), "wrong", "the old password opens nothing")
	person.Password = chosen
	signInByPage(t, tab, person)
	require.Contains(t, tab.Text("assurance"), "AAL2")
	require.Empty(t, tab.Problems())
}
