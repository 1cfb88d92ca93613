package browser

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

// scan reads the QR code that a tab shows off its screen, as the camera of a phone does.
func scan(t *testing.T, tab *browser.Tab) string {
	t.Helper()
	tab.Click("#qr-begin")
	tab.Until(refusedOr + shown("qr") + ` && document.getElementById("qr-image").complete`)
	picture, err := png.Decode(bytes.NewReader(tab.Picture("#qr-image")))
	require.NoError(t, err)
	bits, err := gozxing.NewBinaryBitmapFromImage(picture)
	require.NoError(t, err)
	// A picture off a screen stands straight. The search for one at an angle, as a camera has
	// it, misses one in a hundred of those; it is the second try, for a picture with something around it.
	read, err := qrcode.NewQRCodeReader().Decode(bits, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		read, err = qrcode.NewQRCodeReader().Decode(bits, nil)
	}
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(read.GetText(), suite.PageURL()+"/sign-in#qr="), read.GetText())
	return read.GetText()
}

// number are the buttons that show the number, or those that do not.
func number(which string, is bool) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#approve-numbers button")].filter((b) => (b.textContent === %q) === %t)`, which, is)
}

func choose(tab *browser.Tab, which string, right bool) {
	browser.Eval[bool](tab, number(which, right)+"[0].click(), true")
}

// change does in the auth database what otherwise only time does.
func change(t *testing.T, statement string, args ...any) {
	t.Helper()
	db, err := suite.AdminDB(t.Context(), "auth")
	require.NoError(t, err)
	defer db.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // what counts was committed
	tag, err := db.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
	require.NotZero(t, tag.RowsAffected())
}

// A phone that is signed in scans the code, sees who asks, chooses the number that the
// other device shows, proves afresh who holds it, and that device is signed in by itself. What was signed in by a
// phone signs nobody else in before it has given a factor of its own.
func TestDH25_ChromiumSignsInByPhone(t *testing.T) {
	person := users.Person(seed.Jones)
	phone := open(t)
	signInByPage(t, phone, person)
	desktop := openFrom(t, "127.0.9.9")

	link := scan(t, desktop)
	shows := desktop.Text("qr-number")
	require.Regexp(t, `^[1-9][0-9]$`, shows)
	// The page is open on the phone already: the link loads it anew.
	browser.Eval[bool](phone, fmt.Sprintf("(location.assign(%q), true)", link))
	phone.Until(refusedOr + shown("approve"))
	require.NotContains(t, browser.Eval[string](phone, "location.href"), "#", "no request stays in the history")
	require.Equal(t, "approve-title", browser.Eval[string](phone, "document.activeElement.id"))
	require.Equal(t, "127.0.9.0/24", phone.Text("approve-network"))
	require.Equal(t, "Headless Chrome on Linux", phone.Text("approve-browser"))
	require.Contains(t, phone.Text("approve-far"), "another network")
	require.Equal(t, 2, browser.Eval[int](phone, number(shows, false)+".length"))
	accessible(t, phone)
	change(t, "UPDATE sessions SET authenticated = authenticated - interval '6 minutes' WHERE user_id = $1 AND authenticated IS NOT NULL",
		strings.TrimPrefix(person.User, "users/"))
	choose(phone, shows, true)
	confirmByPage(t, phone, person)
	choose(phone, shows, true)
	phone.Until(refusedOr + signedIn)
	require.Contains(t, phone.Text("status"), "signed in as you")

	desktop.Until(refusedOr + signedIn)
	require.Empty(t, desktop.Text("message"))
	require.Contains(t, desktop.Text("who"), person.Username)
	require.Contains(t, desktop.Text("assurance"), "AAL2")
	require.True(t, cookiesIn(desktop)[sessionCookie].HTTPOnly)
	require.Zero(t, browser.Eval[int](desktop, "localStorage.length + sessionStorage.length"))

	third := open(t)
	desktop.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(scan(t, third)))
	desktop.Until(refusedOr + shown("approve"))
	choose(desktop, third.Text("qr-number"), true)
	// What a phone approved is no proof of the person, so it approves nothing by itself.
	confirmByPage(t, desktop, person)
	choose(desktop, third.Text("qr-number"), true)
	third.Until(refusedOr + signedIn)
	require.Empty(t, third.Text("message"))
	for _, tab := range []*browser.Tab{phone, desktop, third} {
		require.Empty(t, tab.Problems())
	}
}

// confirmByPage proves both factors anew where the page asks for it before an approval.
func confirmByPage(t *testing.T, tab *browser.Tab, person *seed.Person) {
	t.Helper()
	tab.Until(refusedOr + shown("confirm"))
	accessible(t, tab)
	for code := range codesOf(t, person) {
		tab.Fill("confirm-password", person.Password, "confirm-code", code)
		tab.Click("#confirm-form button")
		tab.Until(refusedOr + shown("approve"))
		if tab.Text("message") == "" {
			break
		}
	}
}

// A phone signs in first where it must; a wrong number, a refusal and time end the
// request, and the other device is told.
func TestDH25_ChromiumRefusesByPhone(t *testing.T) {
	person := users.Person(seed.Nurse)
	desktop, phone := open(t), open(t)
	scan(t, desktop)
	desktop.Click("#qr-cancel")
	desktop.Until(shown("start"))
	phone.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(scan(t, desktop)))
	phone.Until(`document.getElementById("status").textContent.includes("Sign in here first")`)
	passwordByPage(phone, person)
	codeByPage(t, phone, person)
	phone.Until(refusedOr + shown("approve"))
	require.True(t, browser.Eval[bool](phone, `document.getElementById("approve-far").hidden`), "both are in one network")
	choose(phone, desktop.Text("qr-number"), false)
	phone.Until(refusedOr + "false")
	require.Contains(t, phone.Text("message"), "another number")
	require.Equal(t, "message", browser.Eval[string](phone, "document.activeElement.id"))
	phone.Until(signedIn)
	desktop.Until(refusedOr + signedIn)
	require.Contains(t, desktop.Text("message"), "refused")
	desktop.Until(shown("start"))
	require.NotContains(t, cookiesIn(desktop), sessionCookie)

	phone.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(scan(t, desktop)))
	phone.Until(refusedOr + shown("approve"))
	phone.Click("#approve-deny")
	phone.Until(refusedOr + signedIn)
	require.Contains(t, phone.Text("status"), "was refused")
	desktop.Until(refusedOr + signedIn)
	require.Contains(t, desktop.Text("message"), "refused")

	link := scan(t, desktop)
	change(t, "UPDATE qr_sign_ins SET expires = created WHERE id = $1", link[strings.Index(link, "#qr=")+len("#qr="):])
	desktop.Until(refusedOr + signedIn)
	require.Contains(t, desktop.Text("message"), "too old")
	phone.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(link))
	phone.Until(refusedOr + shown("approve"))
	require.Contains(t, phone.Text("message"), "too old")
	phone.Until(signedIn)
	require.Empty(t, append(desktop.Problems(), phone.Problems()...))
}
