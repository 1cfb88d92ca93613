package browser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

// over is a client of the API with a fresh session of two factors.
func over(t *testing.T, person *seed.Person) *api.Client {
	t.Helper()
	client, err := seed.Client(suite.Place, person)
	require.NoError(t, err)
	session, err := client.SignIn(t.Context(), person.Username, person.Password, person.TotpSecret)
	require.NoError(t, err)
	return client.With(session.GetSessionToken())
}

func post(t *testing.T, client *api.Client, path string, body, into proto.Message) {
	t.Helper()
	require.NoError(t, client.Call(t.Context(), http.MethodPost, path, body, into))
}

// other turns to another second factor, by what its button says.
func other(tab *browser.Tab, title string) {
	tab.Do(chromedp.Click(chromedp.Search("//button[text()='"+title+"']"), chromedp.NodeVisible))
}

// wrongly gives a code that is wrong, and sees that the page says so and lets try again.
func wrongly(t *testing.T, tab *browser.Tab, code string) {
	t.Helper()
	tab.Fill("code", code)
	tab.Click("#code-form button")
	tab.Until(refusedOr + signedIn)
	require.Contains(t, tab.Text("message"), "wrong")
	require.Equal(t, "message", browser.Eval[string](tab, "document.activeElement.id"))
	require.True(t, browser.Eval[bool](tab, shown("second")))
}

// rightly gives the code that counts.
func rightly(t *testing.T, tab *browser.Tab, code string) {
	t.Helper()
	tab.Fill("code", code)
	tab.Click("#code-form button")
	tab.Until(refusedOr + signedIn)
	require.Empty(t, tab.Text("message"))
	require.Contains(t, tab.Text("assurance"), "AAL2")
	require.Equal(t, http.StatusOK, statusOf(tab, "GET", "/v1/patients"))
	require.Empty(t, tab.Problems())
}

// acceptMail says whether a practice takes codes by mail as a second factor.
func acceptMail(t *testing.T, admin *api.Client, accept bool) {
	t.Helper()
	var policy authv1.Policy
	require.NoError(t, admin.Call(t.Context(), http.MethodGet, "/v1/policy", nil, &policy))
	post(t, admin, "/v1/policy:update", &authv1.UpdatePolicyRequest{AcceptEmailCode: accept, Etag: policy.GetEtag()}, nil)
}

// Where the practice accepts codes by mail, the page offers one, and sends another when asked.
func TestDH23_ChromiumSignsInWithAMailedCode(t *testing.T) {
	person, admin := users.Person(seed.Brown), over(t, users.Person(seed.HillsideAdmin))
	acceptMail(t, admin, false)
	tab := open(t)
	passwordByPage(tab, person)
	require.NotContains(t, tab.Text("others"), "mail", "the practice does not accept it")
	other(tab, "Start over")
	tab.Until(shown("start"))

	acceptMail(t, admin, true)
	passwordByPage(tab, person)
	const sent = `Your code is (\d{8})`
	before := len(suite.Messages())
	other(tab, "Get a code by mail")
	tab.Until(refusedOr + `document.getElementById("status").textContent.includes("on its way")`)
	require.Contains(t, tab.Text("code-hint"), "mail address")
	accessible(t, tab)
	first := received(t, "mail", person.Email, before, sent)

	before = len(suite.Messages())
	other(tab, "Send another code")
	second := received(t, "mail", person.Email, before, sent)
	require.NotEqual(t, first, second)
	wrongly(t, tab, first)
	rightly(t, tab, second[:4]+" "+second[4:])
}

// The number's owner reads the code off the phone; the page shows the number's last digits only.
func TestDH24_ChromiumSignsInWithATextedCode(t *testing.T) {
	person := users.Person(seed.Smith)
	session := over(t, person)
	const number, sent = "+12025550123", `\b(\d{8})\b`
	before := len(suite.Messages())
	var challenge authv1.Challenge
	post(t, session, "/v1/auth:enrolPhone", &authv1.EnrolPhoneRequest{Number: number, Consent: true}, &challenge)
	code := received(t, "sms", number, before, sent)
	post(t, session, "/v1/auth:confirmPhone", &authv1.ConfirmPhoneRequest{Challenge: challenge.GetChallenge(), Code: code}, nil)

	tab := open(t)
	passwordByPage(tab, person)
	before = len(suite.Messages())
	other(tab, "Get a code by text message")
	code = received(t, "sms", number, before, sent)
	require.Contains(t, tab.Text("code-hint"), "ends in 23")
	require.NotContains(t, browser.Eval[string](tab, "document.body.innerText"), number)
	wrongly(t, tab, otherThan(code))
	rightly(t, tab, code)
}

// otherThan is a code that differs in its last digit.
func otherThan(code string) string {
	last := code[len(code)-1]
	return code[:len(code)-1] + string('0'+(last-'0'+1)%10)
}

// A recovery code from paper counts once, as people copy it: in any case, with spaces.
func TestDH22_ChromiumSignsInWithARecoveryCode(t *testing.T) {
	person := users.Person(seed.Receptionist)
	var made authv1.GenerateRecoveryCodesResponse
	post(t, over(t, person), "/v1/auth:generateRecoveryCodes", &authv1.GenerateRecoveryCodesRequest{}, &made)
	require.Len(t, made.GetCodes(), 10)

	tab := open(t)
	passwordByPage(tab, person)
	other(tab, "Use a recovery code")
	tab.Until(`document.getElementById("code-hint").textContent.includes("10 are left")`)
	rightly(t, tab, strings.ToLower(strings.ReplaceAll(made.GetCodes()[0], "-", " ")))

	tab.Click("#sign-out")
	tab.Until(shown("start"))
	passwordByPage(tab, person)
	other(tab, "Use a recovery code")
	tab.Until(`document.getElementById("code-hint").textContent.includes("9 are left")`)
	wrongly(t, tab, made.GetCodes()[0])
}
