package e2e

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// receiver is somebody's server that the stack tells of detections.
type receiver struct {
	server *httptest.Server
	folder string
	secret string

	mu   sync.Mutex
	told []told
}

type told struct {
	id, rule, user, body string
	verified             error
}

func newReceiver() (*receiver, error) {
	r := &receiver{secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte("of a stack that lives for a test"))}
	verifier, err := standardwebhooks.NewWebhook(r.secret)
	if err != nil {
		return nil, err
	}
	r.server = httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		var event struct {
			Data struct {
				Rule string `json:"rule"`
				User string `json:"user_id"`
			} `json:"data"`
		}
		_ = json.Unmarshal(body, &event)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, told{request.Header.Get("webhook-id"), event.Data.Rule, event.Data.User, string(body), verifier.Verify(body, request.Header)})
	}))
	if r.folder, err = os.MkdirTemp("", "carekeep-receiver-"); err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(r.folder, "ca.pem"), certificate, 0o600); err != nil {
		return nil, err
	}
	return r, os.WriteFile(filepath.Join(r.folder, "secret"), []byte(r.secret), 0o600)
}

func (r *receiver) close() {
	r.server.Close()
	_ = os.RemoveAll(r.folder)
}

// setting is the webhook as audit's configuration names it.
func (r *receiver) setting() map[string]any {
	return map[string]any{
		"name": "e2e", "url": r.server.URL + "/in", "secret": map[string]any{"file": filepath.Join(r.folder, "secret")},
		"allow_networks": []string{"127.0.0.0/8"}, "authorities": filepath.Join(r.folder, "ca.pem"),
	}
}

func (r *receiver) about(user, rule string) []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []told
	for _, x := range r.told {
		if x.rule == rule && (user == "" || "users/"+x.user == user) {
			all = append(all, x)
		}
	}
	return all
}

func mails(to, text string) (n int) {
	for _, m := range suite.Messages() {
		if slices.Contains(m.To, to) && strings.Contains(strings.ReplaceAll(m.Subject+"\n"+m.Text, "=\r\n", ""), text) {
			n++
		}
	}
	return n
}

// Somebody guesses a password. Within 5 s its owner and the administrator have mail, the receiver of the webhook a signed
// detection, and the address is blocked; a superadmin undoes the block.
func TestDH37_DTD11_DMD17_DC10_DH51_FromWrongPasswordsToMailWebhookAndBlock(t *testing.T) {
	const attacker = "127.0.77.1"
	const email = "erin@riverside.example"
	var owner authv1.User
	require.NoError(t, as(t, seed.Admin).Call(t.Context(), http.MethodPost, "/v1/users", &authv1.CreateUserRequest{
		Username: "erin.target", DisplayName: "Erin Target", Email: email, Role: accessv1.RoleKind_ROLE_KIND_DOCTOR,
	}, &owner))
	client, err := suite.ClientFrom(attacker)
	require.NoError(t, err)
	guess := func() string {
		response, err := client.Post(suite.URL()+"/v1/auth:signIn", "application/json", strings.NewReader(`{"username":"erin.target","password":"a guess"}`))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	for range 10 {
		guess()
	}
	tenth := time.Now()
	told := func() bool {
		return mails(email, "Unusual activity in your account") > 0 && mails("admin@riverside.example", "Many failed sign-ins to one account") > 0 &&
			len(webhooks.about(owner.GetName(), "BRUTE_FORCE")) > 0
	}
	require.Eventually(t, told, 30*time.Second, 20*time.Millisecond)
	assert.Less(t, time.Since(tenth), 5*time.Second)
	for range 20 {
		guess()
	}
	last := time.Now()
	require.Eventually(t, func() bool { return strings.Contains(guess(), "ADDRESS_BLOCKED") }, 30*time.Second, 100*time.Millisecond)
	assert.Less(t, time.Since(last), 5*time.Second)

	for _, x := range append(webhooks.about(owner.GetName(), "BRUTE_FORCE"), webhooks.about("", "BRUTE_FORCE_ADDRESS")...) {
		assert.NoError(t, x.verified)
		assert.True(t, strings.HasPrefix(x.id, "detection_"), x.id)
		assert.NotContains(t, x.body, "erin", "ids, and no names")
	}
	assert.Len(t, webhooks.about(owner.GetName(), "BRUTE_FORCE"), 1)
	assert.Equal(t, 1, mails(email, "Unusual activity in your account"))

	root := as(t, seed.Superadmin)
	blocked := func() (found *authv1.Block) {
		var blocks authv1.ListBlocksResponse
		require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/blocks", nil, &blocks))
		for _, b := range blocks.GetBlocks() {
			if b.GetNetwork() == attacker {
				found = b
			}
		}
		return found
	}
	require.NotNil(t, blocked())
	assert.Equal(t, "DETECTION", blocked().GetReason())
	var open authv1.ListContainmentsResponse
	require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/containments?openOnly=true", nil, &open))
	assert.True(t, slices.ContainsFunc(open.GetContainments(), func(c *authv1.Containment) bool { return c.GetNetwork() == attacker && c.GetDetection() != "" }), "%v", &open)
	require.NoError(t, root.Call(t.Context(), http.MethodPost, "/v1/blocks:lift", &authv1.LiftBlockRequest{Network: attacker}, &authv1.LiftBlockResponse{}))
	assert.Nil(t, blocked())
	assert.NotContains(t, guess(), "ADDRESS_BLOCKED")
}
