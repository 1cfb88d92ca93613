// Package rest is the command line's client of the REST API: requests, streams of
// JSON lines, and refusals that say what to do. It follows no redirect and speaks
// nothing but TLS 1.3.
package rest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	connectTime = 15 * time.Second
	// callTime bounds a call that is no stream; the server's own limit is 10 s, where Within does not say otherwise.
	callTime = time.Minute
	// maxAnswer bounds an answer that is no stream: a page of 500 entries is far below.
	maxAnswer = 32 << 20
	// maxWait is the longest that a rate limit is waited out.
	maxWait = 90 * time.Second
)

// Client speaks to one gateway, as nobody or with a session.
type Client struct {
	base, token, device string
	// purpose is what patient data is for; the gateway refuses to show any without.
	purpose string
	http    *http.Client
	// waiting, where set, is told how long a rate limit is waited out; else none is.
	waiting func(time.Duration)
	// polling marks requests that nobody made by hand: they do not keep a session alive.
	polling bool
	// patience is how long a call may take; 0 means callTime.
	patience time.Duration
}

// New makes a client without a session. Authority is a file with the certificates
// of the gateway's authority; empty: the system's.
func New(base, authority string) (*Client, error) {
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" || strings.Trim(at.Path, "/") != "" {
		return nil, fmt.Errorf("the address %q is not like https://carekeep.example:8443", base)
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS13}
	if authority != "" {
		raw, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("read the authority: %w", err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("the authority's file %s holds no certificate in PEM", authority)
		}
	}
	return &Client{base: "https://" + at.Host, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: connectTime}).DialContext,
			TLSClientConfig: trust, TLSHandshakeTimeout: connectTime, ForceAttemptHTTP2: true,
		},
		// A redirect would carry the session token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// With gives a client that sends the session token and waits out rate limits.
func (c *Client) With(token string, waiting func(time.Duration)) *Client {
	return &Client{base: c.base, http: c.http, token: token, device: c.device, purpose: c.purpose, waiting: waiting}
}

// On gives a client that names its device, by the token that an earlier sign-in gave.
func (c *Client) On(device string) *Client {
	named := *c
	named.device = device
	return &named
}

// For gives a client that states a purpose of use.
func (c *Client) For(purpose string) *Client {
	stated := *c
	stated.purpose = purpose
	return &stated
}

// Polling gives a client whose requests do not count as activity of the session.
func (c *Client) Polling() *Client {
	polling := *c
	polling.polling = true
	return &polling
}

// Within gives a client whose calls may take as long as that, for what the server itself takes longer for.
func (c *Client) Within(d time.Duration) *Client {
	patient := *c
	patient.patience = d
	return &patient
}

// Call sends body, where it is not nil, and reads the answer into into, where it
// is not nil. Anything but success is a *Refusal.
func (c *Client) Call(ctx context.Context, method, path string, body, into proto.Message) error {
	return c.patiently(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.patience, callTime))
		defer cancel()
		answer, err := c.send(ctx, method, path, body)
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // only read from
		raw, err := io.ReadAll(io.LimitReader(answer, maxAnswer))
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if into == nil {
			return nil
		}
		return decode(raw, into)
	})
}

// Fetch gets a file of at most limit bytes as it is.
func (c *Client) Fetch(ctx context.Context, path string, limit int64) (raw []byte, err error) {
	err = c.patiently(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		answer, err := c.send(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // only read from
		if raw, err = io.ReadAll(io.LimitReader(answer, limit+1)); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if int64(len(raw)) > limit {
			return fmt.Errorf("%s is larger than %d bytes", path, limit)
		}
		return nil
	})
	return raw, err
}

// patiently runs a request again after a rate limit.
func (c *Client) patiently(ctx context.Context, request func() error) error {
	for {
		err := request()
		refusal := (*Refusal)(nil)
		if !errors.As(err, &refusal) || refusal.Status != http.StatusTooManyRequests || c.waiting == nil ||
			refusal.Retry == 0 || refusal.Retry > maxWait {
			return err
		}
		c.waiting(refusal.Retry)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(refusal.Retry):
		}
	}
}

func (c *Client) send(ctx context.Context, method, path string, body proto.Message) (io.ReadCloser, error) {
	var content io.Reader
	if body != nil {
		raw, err := protojson.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		content = bytes.NewReader(raw)
	}
	return c.do(ctx, method, path, "application/json", content)
}

// do returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, path, kind string, content io.Reader) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	request.Header.Set("User-Agent", "carekeep")
	if content != nil {
		request.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.device != "" {
		request.Header.Set("X-Device-Token", c.device)
	}
	if c.purpose != "" {
		request.Header.Set("X-Purpose-Of-Use", c.purpose)
	}
	if c.polling {
		request.Header.Set("X-Background", "true")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, unreached(c.base, err)
	}
	if answer.StatusCode/100 == 2 {
		return answer.Body, nil
	}
	defer answer.Body.Close() //nolint:errcheck // only read from
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return nil, refusalOf(answer.StatusCode, raw)
}

// unreached says what to do about the usual reasons for which no answer came.
func unreached(base string, err error) error {
	if about := (*url.Error)(nil); errors.As(err, &about) {
		err = about.Err // without method and URL, which say nothing here
	}
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%s: %w; name its authority with carekeep sign-in --ca FILE", base, err)
	case errors.As(err, new(*net.OpError)):
		return fmt.Errorf("%s cannot be reached: %w", base, err)
	}
	return fmt.Errorf("%s: %w", base, err)
}

func decode(raw []byte, into proto.Message) error {
	// A newer server may say more than this program knows.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the answer cannot be read; is this a carekeep gateway? (%w)", err)
	}
	return nil
}
