package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// logPath is where everybody reads the audit log as C2SP tlog-tiles: checkpoint, tiles and salted
// commitments, which reveal nothing. No session is asked for, and reading appends no entry: a verifier would
// never come to the end of a log that its own reading extends, and strangers could make it grow.
const logPath = "/v1/log/"

const (
	// logTimeout bounds one file of the log; the largest has 8,704 bytes.
	logTimeout = 10 * time.Second
	logBytes   = 64 << 10
)

// Log says how to reach the public log of audit. Without an address there is none.
type Log struct {
	Address   string
	Transport http.RoundTripper
}

// publicLog passes requests for the log on, within the limits of each client.
type publicLog struct {
	Log
	throttle *throttle
}

func newPublicLog(l Log, limits edge.Limits, now func() time.Time) *publicLog {
	return &publicLog{Log: l, throttle: newThrottle(limits.LogPerSecond, now)}
}

// takes says whether the request is for the log.
func (p *publicLog) takes(path string) bool {
	return p.Address != "" && strings.HasPrefix(path, logPath)
}

// routeOf names a route without the numbers in it.
func routeOf(file string) string {
	switch {
	case file == "checkpoint":
		return logPath + "checkpoint"
	case strings.HasPrefix(file, "tile/entries/"):
		return logPath + "tile/entries/{index}"
	case strings.HasPrefix(file, "tile/"):
		return logPath + "tile/{level}/{index}"
	}
	return ""
}

// serve answers one request. Nothing that the client sent goes on but the path.
func (p *publicLog) serve(w http.ResponseWriter, r *http.Request) {
	file := strings.TrimPrefix(r.URL.Path, logPath)
	route := routeOf(file)
	if route == "" {
		Fail(w, r, errs.New(errs.KindNotFound, reasonRoute, "the log has checkpoint, tile/{level}/{index} and tile/entries/{index}; see https://c2sp.org/tlog-tiles"))
		return
	}
	edge.Of(r.Context()).Route = route
	if err := p.check(w, r); err != nil {
		Fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), logTimeout)
	defer cancel()
	url := *r.URL
	url.Scheme, url.Host, url.User, url.Path = "https", p.Address, nil, "/"+file
	onward, err := http.NewRequestWithContext(ctx, r.Method, url.String(), nil) //nolint:gosec // scheme and host are the settings'
	if err != nil {
		Fail(w, r, errs.New(errs.KindInvalid, reasonParameter, "the path is not well formed"))
		return
	}
	p.answer(w, r, onward)
}

func (p *publicLog) check(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return errs.New(errs.KindUnimplemented, reasonMethod, "the log is only read: use GET")
	}
	if err := checkQuery(r.URL.RawQuery, nil); err != nil {
		return err
	}
	if wait := p.throttle.take(edge.Of(r.Context()).Address); wait > 0 {
		return errs.New(errs.KindLimited, "LOG_LIMITED", "too many requests for the log from this network; wait, and keep what you have: tiles never change").WithRetry(wait)
	}
	return nil
}

func (p *publicLog) answer(w http.ResponseWriter, r, onward *http.Request) {
	response, err := p.Transport.RoundTrip(onward)
	var body []byte
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		// All of it before the first byte leaves: nobody is to keep a part of a tile for good.
		body, err = io.ReadAll(io.LimitReader(response.Body, logBytes))
	}
	switch {
	case err != nil:
	case response.StatusCode == http.StatusNotFound:
		Fail(w, r, errs.New(errs.KindNotFound, "TILE_NOT_FOUND", "the log has no such file, or not yet; the checkpoint says how large it is"))
		return
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	if err != nil {
		Fail(w, r, errs.Wrap(fmt.Errorf("audit: %w", err), errs.KindUnavailable, "DEPENDENCY_UNAVAILABLE", "a service that this request needs is not available"))
		return
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "Content-Length"} {
		w.Header()[name] = response.Header.Values(name)
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) //nolint:gosec // not HTML: the type is plain text or bytes, with nosniff
}
