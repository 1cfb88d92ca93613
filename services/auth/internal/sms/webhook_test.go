package sms_test

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/services/auth/internal/sms"
)

const (
	token   = "12345"
	webhook = "https://care.example.org/v1/messages:receiveSms"
	account = "AC00000000000000000000000000000000"
)

func settings(t testing.TB, lines ...string) (sms.Config, error) {
	t.Helper()
	text := "url: https://api.example.org\naccount: " + account + "\ntoken: {file: token}\nfrom: '+12025550100'\nbrand: Care Example\n" +
		"contact: 202-555-0101\nwebhook: " + webhook + "\n"
	for i := 0; i+1 < len(lines); i += 2 {
		require.Contains(t, text, lines[i])
		text = strings.Replace(text, lines[i], lines[i+1], 1)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sms.yaml"), []byte(text), 0o600))
	var c sms.Config
	err := config.Load(filepath.Join(dir, "sms.yaml"), &c)
	return c, err
}

func fields(change ...string) map[string]string {
	f := map[string]string{
		"MessageSid": "SM0123456789abcdef0123456789abcdef", "AccountSid": account, "From": "+12025550123", "To": "+12025550100", "Body": "Stop & go",
	}
	for i := 0; i+1 < len(change); i += 2 {
		f[change[i]] = change[i+1]
	}
	return f
}

func encode(f map[string]string) []byte {
	values := url.Values{}
	for name, value := range f {
		values.Set(name, value)
	}
	return []byte(values.Encode())
}

// The example of the provider's documentation.
func TestSignaturesAreTheProviders(t *testing.T) {
	t.Parallel()
	require.Equal(t, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", sms.Sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", map[string]string{
		"CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309", "To": "+18005551212",
	}))
}

func TestRepliesAreReadOnlyWithTheProvidersSignature(t *testing.T) {
	t.Parallel()
	c, err := settings(t)
	require.NoError(t, err)
	form := encode(fields())
	good := sms.Sign(token, webhook, fields())
	reply, err := c.Signed(form, good)
	require.NoError(t, err)
	require.Equal(t, sms.Reply{SID: "SM0123456789abcdef0123456789abcdef", From: "+12025550123", To: "+12025550100", Body: "Stop & go"}, reply)

	for name, try := range map[string]struct {
		form      []byte
		signature string
	}{
		"no signature":     {form, ""},
		"not base64":       {form, "%%%"},
		"another token":    {form, sms.Sign("54321", webhook, fields())},
		"another address":  {form, sms.Sign(token, webhook+"?x=1", fields())},
		"another body":     {encode(fields("Body", "start")), good},
		"a field more":     {append(form, "&Extra=1"...), good},
		"a field twice":    {append(form, "&Body=x"...), good},
		"not a form":       {[]byte("%zz"), good},
		"another account":  {encode(fields("AccountSid", "AC1")), sms.Sign(token, webhook, fields("AccountSid", "AC1"))},
		"no id":            {encode(fields("MessageSid", "")), sms.Sign(token, webhook, fields("MessageSid", ""))},
		"a sender unknown": {encode(fields("From", "")), sms.Sign(token, webhook, fields("From", ""))},
		"too long":         {[]byte("a=" + strings.Repeat("x", 64<<10)), good},
	} {
		_, err := c.Signed(try.form, try.signature)
		require.Error(t, err, name)
	}
	long := fields("Body", strings.Repeat("é", 2000))
	reply, err = c.Signed(encode(long), sms.Sign(token, webhook, long))
	require.NoError(t, err)
	require.Len(t, []rune(reply.Body), 1600)
}

func TestHalfAConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string][]string{
		"url":                          {"url: https://api.example.org\n", ""},
		"account":                      {"account: " + account + "\n", ""},
		"token":                        {"token: {file: token}\n", ""},
		"from":                         {"from: '+12025550100'\n", ""},
		"brand":                        {"brand: Care Example\n", ""},
		"contact":                      {"contact: 202-555-0101\n", ""},
		"env: NAME":                    {"{file: token}", "12345"},
		"http is for a loopback":       {"https://api", "http://api"},
		"webhook":                      {webhook, "http://care.example.org/x"},
		"from: must be":                {"+12025550100", "+1 202 555 0100"},
		"every phone shows":            {"Care Example", "Care ✚"},
		"without a link":               {"Care Example", "care.example.org/x"},
		"telephone number of at most":  {"202-555-0101", "help@example.org"},
		"account: must be the account": {account, "AC/../x"},
	} {
		_, err := settings(t, change...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "12345")
	}
	_, err := settings(t, "https://api.example.org", "http://127.0.0.1:8025")
	require.NoError(t, err, "the local inbox")
}

// A provider that is impersonated gets nothing: no certificate that we know, no message.
func TestTheProviderIsReachedOverTLSOrNotAtAll(t *testing.T) {
	t.Parallel()
	c, err := settings(t)
	require.NoError(t, err)
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	c.URL = server.URL
	client, err := sms.NewClient(c)
	require.NoError(t, err)
	err = client.Send(t.Context(), sms.Message{To: "+12025550123", From: "+12025550100", Body: "x"})
	require.ErrorContains(t, err, "certificate")
	require.NotContains(t, err.Error(), "5550123")
	var refusal sms.Refusal
	require.False(t, errors.As(err, &refusal), "it is tried again")
}

func FuzzWebhook(f *testing.F) {
	f.Add(encode(fields()), "x")
	f.Add([]byte("a=1&a=2"), "")
	f.Add([]byte("Body=%ff%00&From=%2B1"), "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
	c, err := settings(f)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, form []byte, signature string) {
		if _, err := c.Signed(form, signature); err == nil {
			t.Fatal("a signature out of thin air")
		}
		// With the right signature nothing panics, and what is read is storable and bounded.
		values, err := url.ParseQuery(string(form))
		if err != nil {
			return
		}
		one := map[string]string{}
		for name := range values {
			one[name] = values.Get(name)
		}
		one["AccountSid"] = account
		reply, err := c.Signed(encode(one), sms.Sign(token, webhook, one))
		if err == nil && (strings.ContainsRune(reply.Body, 0) || len([]rune(reply.Body)) > 1600 || reply.SID == "") {
			t.Fatalf("%q", reply.Body)
		}
	})
}
