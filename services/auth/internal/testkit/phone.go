package testkit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
)

// The provider that a Phone plays.
const (
	SMSToken   = "0123456789abcdef0123456789abcdef" //nolint:gosec // of a provider that lives as long as a test
	SMSFrom    = "+12025550100"
	SMSWebhook = "https://care.example.org" + sms.WebhookPath
	smsAccount = "AC00000000000000000000000000000000"
)

// Phone is a provider of text messages in Twilio's shape that keeps what it gets.
type Phone struct {
	t      testing.TB
	server *httptest.Server

	mu     sync.Mutex
	texts  []sms.Message
	status int
	code   int
}

// NewPhone starts a provider; pass its Use to New to have the installation send through it.
func NewPhone(t testing.TB) *Phone {
	p := &Phone{t: t}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

// Use makes the settings send text messages through this provider.
func (p *Phone) Use(s *app.Settings) { s.SMS = p.Config() }

// Config is what leads to this provider.
func (p *Phone) Config() *sms.Config {
	p.t.Helper()
	dir := p.t.TempDir()
	require.NoError(p.t, os.WriteFile(filepath.Join(dir, "token"), []byte(SMSToken), 0o600))
	file := filepath.Join(dir, "sms.yaml")
	require.NoError(p.t, os.WriteFile(file, fmt.Appendf(nil,
		"{url: %q, account: %s, token: {file: token}, from: %q, brand: Care Example, contact: 202-555-0101}", p.server.URL, smsAccount, SMSFrom), 0o600))
	c := &sms.Config{}
	require.NoError(p.t, config.Load(file, c))
	return c
}

// Answer makes the provider refuse with an HTTP status and a code of its own; 0 takes messages again.
func (p *Phone) Answer(status, code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.code = status, code
}

// Texts are the messages to a number.
func (p *Phone) Texts(to string) []sms.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []sms.Message
	for _, m := range p.texts {
		if m.To == to {
			found = append(found, m)
		}
	}
	return found
}

// Text waits for the n-th message to the number.
func (p *Phone) Text(to string, n int) sms.Message {
	p.t.Helper()
	var list []sms.Message
	require.Eventually(p.t, func() bool { list = p.Texts(to); return len(list) >= n }, 20*time.Second, 10*time.Millisecond)
	return list[n-1]
}

var texted = regexp.MustCompile(`your code is ([0-9]{8})\.`)

// Code waits for the n-th message to the number and takes the one-time code out of it.
func (p *Phone) Code(to string, n int) string {
	p.t.Helper()
	match := texted.FindStringSubmatch(p.Text(to, n).Body)
	require.NotNil(p.t, match, "no code in the message")
	return match[1]
}

// Reply is what the provider delivers when a number writes to another: a form, and its signature.
func (p *Phone) Reply(from, to, body string) (form []byte, signature string) {
	raw := uuid.New()
	fields := map[string]string{
		"MessageSid": fmt.Sprintf("SM%x", raw[:]), "AccountSid": smsAccount, "From": from, "To": to, "Body": body, "NumMedia": "0",
	}
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value)
	}
	return []byte(values.Encode()), sms.Sign(SMSToken, SMSWebhook, fields)
}

func (p *Phone) serve(w http.ResponseWriter, r *http.Request) {
	user, token, _ := r.BasicAuth()
	if r.URL.Path != "/2010-04-01/Accounts/"+smsAccount+"/Messages.json" || user != smsAccount || token != SMSToken || r.ParseForm() != nil {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if p.status != 0 {
		w.WriteHeader(p.status)
		_, _ = fmt.Fprintf(w, `{"code": %d, "message": "about %s"}`, p.code, r.PostForm.Get("To")) //nolint:gosec // JSON to a client of a test
		return
	}
	p.texts = append(p.texts, sms.Message{To: r.PostForm.Get("To"), From: r.PostForm.Get("From"), Body: r.PostForm.Get("Body")})
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(`{"sid": "SM1", "status": "queued"}`))
}
