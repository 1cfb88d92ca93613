package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// endpoints times HTTP endpoints that say whether a session is good, side by side
// and in turns: ours (GET /v1/self) beside another product's, such as the
// /sessions/whoami of Ory Kratos on the same machine.
type endpoints struct {
	measured
	URL []string `arg:"" help:"Endpoints to time; each must answer 2xx. The first is what the others are compared with."`
}

// measured is how servers are reached, and for how long.
type measured struct {
	Header  []string      `help:"A header of every request, as 'Authorization: Bearer …'. May be given several times; 'N=Header: value' gives it to the N-th URL only." sep:"none"`
	CA      string        `type:"existingfile" help:"Certificates to trust besides those of the system, PEM."`
	Clients int           `default:"32" help:"Clients that send requests at the same time."`
	Length  time.Duration `default:"5s" help:"How long each run takes."`
	Rounds  int           `default:"3" help:"Runs of each endpoint, in turns; the median counts."`
}

// Run prints one row for each endpoint.
func (e *endpoints) Run(ctx context.Context, out io.Writer) error {
	client, err := e.client(10 * time.Second)
	if err != nil {
		return err
	}
	ops := make([]func(context.Context, int, int) error, len(e.URL))
	for i, url := range e.URL {
		headers, err := headersOf(e.Header, i+1)
		if err != nil {
			return err
		}
		ops[i] = func(ctx context.Context, _, _ int) error {
			_, err := ask(ctx, client, http.MethodGet, url, headers, nil)
			return err
		}
		if err := ops[i](ctx, 0, 0); err != nil {
			return err
		}
	}
	samples, err := contest(ctx, e.Clients, e.Length, e.Rounds, ops...)
	if err != nil {
		return err
	}
	for i, s := range samples {
		fmt.Fprintf(out, "%d: %.0f/s, %s, %.2f of the first\n", i+1, s.perSecond, latency(s), s.perSecond/samples[0].perSecond)
	}
	return nil
}

func (e *measured) client(timeout time.Duration) (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("certificates of the system: %w", err)
	}
	if e.CA != "" {
		raw, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, fmt.Errorf("certificates to trust: %w", err)
		}
		if !roots.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no certificate", e.CA)
		}
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: e.Clients, ForceAttemptHTTP2: true,
	}}, nil
}

// headersOf picks the headers of the n-th endpoint.
func headersOf(given []string, n int) (http.Header, error) {
	headers := http.Header{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, ":")
		if number, rest, only := strings.Cut(name, "="); ok && only {
			if number != fmt.Sprint(n) {
				continue
			}
			name = rest
		}
		if !ok || strings.TrimSpace(name) == "" {
			return nil, errors.New("write a header as 'Name: value' or 'N=Name: value'") // its value may be a secret
		}
		headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return headers, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// ask sends a request and returns the body of the answer, which must be 2xx.
func ask(ctx context.Context, client *http.Client, method, url string, headers http.Header, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	request.Header = headers
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("endpoint %s answered %s", url, response.Status)
	}
	return answer, nil
}
