package transit

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// session is the login. It is made again when it is two thirds through its time, which
// also takes up a new certificate, and when Vault no longer knows the token.
type session struct {
	vault *api.Client
	role  string
	now   func() time.Time

	mu    sync.Mutex
	token string
	until time.Time
}

// fresh returns a token other than the refused one.
func (s *session) fresh(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && s.token != refused && s.now().Before(s.until) {
		return s.token, nil
	}
	login := s.vault.WithRequestCallbacks(func(r *api.Request) { r.ClientToken = "" })
	secret, err := login.Logical().WriteWithContext(ctx, "auth/cert/login", map[string]any{"name": s.role})
	if err != nil {
		var answer *api.ResponseError
		if errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest {
			return "", denied(err) // Vault's answer to a certificate that it has no role for
		}
		return "", translate(ctx, "auth/cert/login", err)
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return "", malformed(nil)
	}
	s.token = secret.Auth.ClientToken
	s.until = s.now().Add(time.Duration(secret.Auth.LeaseDuration) * time.Second * 2 / 3)
	return s.token, nil
}

// call runs one request under the session; a refused token gets one new login, because Vault
// answers 403 both to a token that it forgot and to a policy that says no.
func (c *Client) call(ctx context.Context, do func(context.Context, *api.Client) (*api.Secret, error)) (*api.Secret, error) {
	refused, path := "", ""
	for attempt := 0; ; attempt++ {
		token, err := c.session.fresh(ctx, refused)
		if err != nil {
			return nil, err
		}
		with := c.vault.WithRequestCallbacks(func(r *api.Request) { r.ClientToken, path = token, r.URL.Path })
		secret, err := do(ctx, with)
		if err == nil {
			return secret, nil
		}
		var answer *api.ResponseError
		if attempt > 0 || !errors.As(err, &answer) || answer.StatusCode != http.StatusForbidden {
			return nil, translate(ctx, path, err)
		}
		refused = token
	}
}

func (c *Client) write(ctx context.Context, path string, data map[string]any) (map[string]any, error) {
	secret, err := c.call(ctx, func(ctx context.Context, v *api.Client) (*api.Secret, error) {
		return v.Logical().WriteWithContext(ctx, "transit/"+path, data)
	})
	if err != nil || secret == nil {
		return nil, err
	}
	return secret.Data, nil
}

// batch runs items through one of the engine's batch calls, in order.
func (c *Client) batch(ctx context.Context, path, in, out string, items []string) ([]string, error) {
	results := make([]string, 0, len(items))
	for start := 0; start < len(items); start += batchSize {
		part := items[start:min(start+batchSize, len(items))]
		input := make([]map[string]any, len(part))
		for i, item := range part {
			input[i] = map[string]any{in: item}
		}
		data, err := c.write(ctx, path, map[string]any{"batch_input": input})
		if err != nil {
			return nil, err
		}
		list, _ := data["batch_results"].([]any)
		if len(list) != len(part) {
			return nil, malformed(nil)
		}
		for _, one := range list {
			fields, _ := one.(map[string]any)
			text, ok := fields[out].(string)
			if !ok {
				return nil, broken(nil)
			}
			results = append(results, text)
		}
	}
	return results, nil
}
