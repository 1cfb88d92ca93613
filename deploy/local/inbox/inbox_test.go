package inbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/inbox"
)

const account = "AC0123456789abcdef0123456789abcdef"

func start(t *testing.T, file string) *inbox.Inbox {
	t.Helper()
	in, err := inbox.Start(inbox.Options{File: file, Now: func() time.Time { return time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC) }})
	require.NoError(t, err)
	return in
}

func stop(t *testing.T, in *inbox.Inbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, in.Close(ctx))
}

func running(t *testing.T) *inbox.Inbox {
	t.Helper()
	in := start(t, filepath.Join(t.TempDir(), "inbox.jsonl"))
	t.Cleanup(func() { stop(t, in) })
	return in
}

func send(in *inbox.Inbox, body string) error {
	return smtp.SendMail(in.MailAddr().String(), nil, "carekeep@localhost", []string{"nurse@riverside.example"}, []byte(body))
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	response, err := http.Get(address) //nolint:noctx // a local test server
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

func TestMailIsDecoded(t *testing.T) {
	t.Parallel()
	in := running(t)
	for _, body := range []string{
		"Subject: plain\r\n\r\nWelcome Zoë",
		"Subject: =?utf-8?q?quoted_=C3=A9?=\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nWelcome Zo=C3=AB",
		"Subject: parts\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>no</p>\r\n" +
			"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nV2VsY29tZSBab8Or\r\n--b--\r\n",
	} {
		require.NoError(t, send(in, body))
	}
	messages := in.Messages()
	require.Len(t, messages, 3)
	require.Equal(t, []string{"parts", "quoted é", "plain"}, []string{messages[0].Subject, messages[1].Subject, messages[2].Subject}, "newest first")
	for _, m := range messages {
		require.Equal(t, "Welcome Zoë", m.Text)
		require.Equal(t, "mail", m.Kind)
		require.Equal(t, "carekeep@localhost", m.From)
		require.Equal(t, []string{"nurse@riverside.example"}, m.To)
	}
}

func TestMessagesSurviveARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "inbox.jsonl")
	in := start(t, file)
	require.NoError(t, send(in, "Subject: kept\r\n\r\nbody"))
	kept := in.Messages()
	stop(t, in)

	torn, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = torn.WriteString(`{"id":"cut sho`)
	require.NoError(t, err)
	require.NoError(t, torn.Close())

	in = start(t, file)
	require.Equal(t, kept, in.Messages())
	require.NoError(t, send(in, "Subject: after\r\n\r\nbody"))
	stop(t, in)

	in = start(t, file)
	defer stop(t, in)
	require.Len(t, in.Messages(), 2, "a line cut short does not swallow the next one")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestPageIsSafeToShow(t *testing.T) {
	t.Parallel()
	in := running(t)
	require.NoError(t, send(in, "Subject: <script>alert(1)</script>\r\n\r\nOpen https://127.0.0.1:8443/invite?a=1&b=2. <img src=x onerror=alert(1)>"))
	response, body := get(t, in.URL())
	require.Equal(t, http.StatusOK, response.StatusCode)
	policy := response.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, body, "<script")
	require.NotContains(t, body, "<img")
	require.NotContains(t, body, "style=")
	require.Contains(t, body, `<a href="https://127.0.0.1:8443/invite?a=1&amp;b=2" rel="noreferrer">`)
	require.Contains(t, body, `<html lang="en">`)
	require.Contains(t, body, `datetime="2026-11-21T09:30:00Z"`)

	response, _ = get(t, in.URL()+"/inbox.css")
	require.Equal(t, "text/css; charset=utf-8", response.Header.Get("Content-Type"))
	_, raw := get(t, in.URL()+"/messages.json")
	var messages []inbox.Message
	require.NoError(t, json.Unmarshal([]byte(raw), &messages))
	require.Equal(t, in.Messages(), messages)
}

func TestPageOfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	in := running(t)
	request, err := http.NewRequest(http.MethodGet, in.URL()+"/messages.json", nil) //nolint:noctx // a local test server
	require.NoError(t, err)
	request.Host = "rebound.example:8025"
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode)
}

func postSMS(t *testing.T, in *inbox.Inbox, user string, form url.Values) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, in.URL()+"/2010-04-01/Accounts/"+account+"/Messages.json", strings.NewReader(form.Encode())) //nolint:noctx // a local test server
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(user, "token")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // only read from
	var body map[string]any
	require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
	return response.StatusCode, body
}

func TestTextMessages(t *testing.T) {
	t.Parallel()
	in := running(t)
	form := func(to, from, body string) url.Values { return url.Values{"To": {to}, "From": {from}, "Body": {body}} }
	status, body := postSMS(t, in, account, form("+15551234567", "+15550000000", "Your appointment is tomorrow"))
	require.Equal(t, http.StatusCreated, status)
	require.Equal(t, "queued", body["status"])
	require.Regexp(t, "^SM[0-9a-f]{32}$", body["sid"])
	require.Equal(t, "sms", in.Messages()[0].Kind)
	require.Equal(t, "Your appointment is tomorrow", in.Messages()[0].Text)

	for name, bad := range map[string]struct {
		user string
		form url.Values
		code float64
	}{
		"foreign account": {"ACffffffffffffffffffffffffffffffff", form("+15551234567", "+1555", "x"), 20003},
		"no number":       {account, form("5551234567", "+1555", "x"), 21211},
		"no sender":       {account, form("+15551234567", "", "x"), 21603},
		"no body":         {account, form("+15551234567", "+1555", " "), 21602},
		"long body":       {account, form("+15551234567", "+1555", strings.Repeat("é", inbox.MaxSMSRunes+1)), 21617},
		"huge form":       {account, form("+15551234567", "+1555", strings.Repeat("x", 65<<10)), 21620},
	} {
		status, body := postSMS(t, in, bad.user, bad.form)
		require.GreaterOrEqual(t, status, 400, name)
		require.Equal(t, bad.code, body["code"], name)
	}
	require.Len(t, in.Messages(), 1)
}

func TestMailBeyondTheLimitsIsRefused(t *testing.T) {
	t.Parallel()
	in := running(t)
	require.ErrorContains(t, send(in, "Subject: big\r\n\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", inbox.MaxMailBytes/70)), "552")
	many := make([]string, inbox.MaxRecipients+1)
	for i := range many {
		many[i] = fmt.Sprintf("a%d@riverside.example", i)
	}
	require.ErrorContains(t, smtp.SendMail(in.MailAddr().String(), nil, "carekeep@localhost", many, []byte("Subject: many\r\n\r\n")), "452")
	require.ErrorContains(t, send(in, "not a header\r\n"), "554")
	require.Empty(t, in.Messages())
}

func TestOldestMessagesGoFirst(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "inbox.jsonl")
	var lines strings.Builder
	for i := range inbox.MaxKept + 5 {
		fmt.Fprintf(&lines, "{\"id\":\"%d\",\"kind\":\"mail\",\"text\":\"x\"}\n", i)
	}
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	in := start(t, file)
	defer stop(t, in)
	messages := in.Messages()
	require.Len(t, messages, inbox.MaxKept)
	require.Equal(t, "5", messages[len(messages)-1].ID)
	_, body := get(t, in.URL()+"?page=2")
	require.Contains(t, body, `href="/?page=1"`)
	require.Contains(t, body, `href="/?page=3"`)
}
