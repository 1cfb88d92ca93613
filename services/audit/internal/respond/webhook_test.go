package respond

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

var key = []byte("0123456789abcdef0123456789abcdef")

// receiver is a server at 127.0.0.1 and the options of a webhook that reaches it.
func receiver(t *testing.T, serve http.HandlerFunc) WebhookOptions {
	t.Helper()
	server := httptest.NewTLSServer(serve)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "authorities.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return WebhookOptions{
		Name: "team", URL: server.URL + "/in", Secret: "whsec_" + base64.StdEncoding.EncodeToString(key), Risk: "MEDIUM",
		AllowNetworks: []string{"127.0.0.0/8"}, Authorities: file, Now: time.Now,
	}
}

func detection() store.Answerable {
	id := func() uuid.UUID { return uuid.Must(uuid.NewV7()) }
	return store.Answerable{Detection: store.Detection{
		ID: id(), Rule: "HONEYPATIENT", Practice: id(), User: id(), Patient: id(), Address: "192.0.2.7", Risk: 4, Seq: 7, FirstSeq: 7, Count: 1,
		Title: "Somebody opened a decoy", Actions: []string{"end_sessions"}, Time: time.Now().UTC(),
	}, Event: &auditv1.Event{Username: "dr.smith"}}
}

func TestDH37_AWebhookIsSignedAsTheStandardSaysAndNamesNobody(t *testing.T) {
	t.Parallel()
	var headers http.Header
	var body []byte
	hook, err := NewWebhook(receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		headers = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	require.NoError(t, err)
	a := detection()
	require.NoError(t, hook.Do(t.Context(), a, actionTell))

	verifier, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(key))
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(body, headers))
	require.Error(t, verifier.Verify(append(body, ' '), headers))
	mac := hmac.New(sha256.New, key) // as a receiver does without a library
	mac.Write([]byte(headers.Get("webhook-id") + "." + headers.Get("webhook-timestamp") + "." + string(body)))
	require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), headers.Get("webhook-signature"))
	require.Equal(t, "detection_"+a.ID.String(), headers.Get("webhook-id"), "the same however often it is sent")

	var told struct {
		Type string
		Data map[string]any
	}
	require.NoError(t, json.Unmarshal(body, &told))
	require.Equal(t, "detection.created", told.Type)
	require.Equal(t, []any{"HONEYPATIENT", "CRITICAL", a.Patient.String(), a.User.String()},
		[]any{told.Data["rule"], told.Data["risk"], told.Data["patient_id"], told.Data["user_id"]})
	require.NotContains(t, string(body), "dr.smith")
}

func TestAWebhookGoesToNobodyElse(t *testing.T) {
	t.Parallel()
	reached := 0
	o := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		reached++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	hook, err := NewWebhook(o)
	require.NoError(t, err)
	require.ErrorContains(t, hook.Do(t.Context(), detection(), actionTell), "answered 307")
	require.Equal(t, 1, reached, "a redirect is not followed")

	o.AllowNetworks = []string{"10.0.0.0/8"}
	hook, err = NewWebhook(o)
	require.NoError(t, err)
	err = hook.Do(t.Context(), detection(), actionTell)
	require.ErrorIs(t, err, errPrivate)
	require.NotContains(t, err.Error(), "/in", "the path may be a secret")
	o.URL = strings.Replace(o.URL, "127.0.0.1", "localhost", 1) // a name that leads to the inside
	hook, err = NewWebhook(o)
	require.NoError(t, err)
	require.ErrorIs(t, hook.Do(t.Context(), detection(), actionTell), errPrivate)
	require.Equal(t, 1, reached)

	o.AllowNetworks, o.Authorities, o.URL = []string{"127.0.0.0/8"}, "", strings.Replace(o.URL, "localhost", "127.0.0.1", 1)
	hook, err = NewWebhook(o)
	require.NoError(t, err)
	require.ErrorContains(t, hook.Do(t.Context(), detection(), actionTell), "certificate")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, hook.Do(ended, detection(), actionTell))
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	none, err := newReach(nil)
	require.NoError(t, err)
	for _, text := range []string{
		"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1",
		"::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1", "fec0::1",
	} {
		require.False(t, none.allows(netip.MustParseAddr(text)), text)
	}
	for _, text := range []string{"1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"} {
		require.True(t, none.allows(netip.MustParseAddr(text)), text)
	}
	some, err := newReach([]string{"10.1.0.0/16", "fd00::/8"})
	require.NoError(t, err)
	require.True(t, some.allows(netip.MustParseAddr("10.1.2.3")))
	require.True(t, some.allows(netip.MustParseAddr("fd00::1")))
	require.False(t, some.allows(netip.MustParseAddr("10.2.0.1")))
	require.Error(t, some.control("tcp", "not an address", nil))
}

func TestWebhooksThatAreRefused(t *testing.T) {
	t.Parallel()
	good := WebhookOptions{Name: "a", URL: "https://hooks.example/x", Secret: "whsec_" + base64.StdEncoding.EncodeToString(key), Risk: "LOW"}
	_, err := NewWebhook(good)
	require.NoError(t, err)
	for want, change := range map[string]func(*WebhookOptions){
		"https://host":          func(o *WebhookOptions) { o.URL = "http://hooks.example/x" },
		"without a password":    func(o *WebhookOptions) { o.URL = "https://user:secret@hooks.example/x" },
		"24 to 64":              func(o *WebhookOptions) { o.Secret = "whsec_c2hvcnQ=" },
		"base64":                func(o *WebhookOptions) { o.Secret = "whsec_!" },
		"MEDIUM, HIGH":          func(o *WebhookOptions) { o.Risk = "UNSPECIFIED" },
		"no network such as":    func(o *WebhookOptions) { o.AllowNetworks = []string{"10.0.0.1"} },
		"authorities: open no/": func(o *WebhookOptions) { o.Authorities = "no/such" },
	} {
		o := good
		change(&o)
		_, err := NewWebhook(o)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret@")
	}
}
