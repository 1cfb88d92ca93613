// Package rest is the command line's way to the gateway: one HTTPS client with a
// session, and errors that say what to do. It goes through the gateway like any front
// end and has no way around a check.
package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Client speaks to one gateway.
type Client struct {
	base  string
	token string
	http  *http.Client
}

const (
	dialTimeout  = 10 * time.Second
	maxAnswer    = 64 << 20 // of an answer that is not a stream
	maxLine      = 16 << 20 // of a streamed answer
	errorExcerpt = 64 << 10
)

// New makes a client. The certificate authorities in caFile replace the system's; "" keeps them.
func New(base, caFile, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, errors.New("--url must be like https://gateway.example:8443, without a path")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if caFile != "" {
		raw, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--ca: %s holds no certificate in PEM form", caFile)
		}
	}
	return &Client{base: "https://" + u.Host, token: token, http: &http.Client{
		// A session token goes to the address that was asked for, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the gateway redirects; give its own address") },
		Transport:     &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true},
	}}, nil
}

// Call sends body, where it is not nil, and reads the answer into into.
func (c *Client) Call(ctx context.Context, method, path string, body, into proto.Message) error {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s %s: the answer is not what this release knows", method, path)
	}
	return nil
}

// Stream sends body and calls each for every message of the answer, of any length.
func (c *Client) Stream(ctx context.Context, path string, body proto.Message, each func(json.RawMessage) error) error {
	response, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return lines(path, response.Body, each)
}

// Upload sends content as it is and calls each for every message of the answer, while it sends.
func (c *Client) Upload(ctx context.Context, path, kind string, content io.Reader, each func(json.RawMessage) error) error {
	response, err := c.do(ctx, http.MethodPost, path, kind, content)
	if err != nil {
		return err
	}
	return lines(path, response.Body, each)
}

func (c *Client) send(ctx context.Context, method, path string, body proto.Message) (*http.Response, error) {
	if body == nil {
		return c.do(ctx, method, path, "", nil)
	}
	raw, err := protojson.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return c.do(ctx, method, path, "application/json", bytes.NewReader(raw))
}

// do returns successful answers only.
func (c *Client) do(ctx context.Context, method, path, kind string, content io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if Background(ctx) {
		request.Header.Set("X-Background", "true")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		defer func() { _ = response.Body.Close() }()
		raw, _ := io.ReadAll(io.LimitReader(response.Body, errorExcerpt))
		return nil, refusal(response.StatusCode, raw)
	}
	return response, nil
}

type backgroundKey struct{}

// InBackground marks requests that no person made, such as polling: they do not keep a session alive.
func InBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// Background reports whether a context is marked so.
func Background(ctx context.Context) bool { return ctx.Value(backgroundKey{}) != nil }
