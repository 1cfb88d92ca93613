package rest

import (
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// probed are parts of paths that only a scanner asks of an API: files of other
// products and of careless deployments.
var probed = []string{
	"/.env", "/.git", "/.aws", "/.ssh", "/.svn", "/.ds_store", "/wp-", "/wordpress", "/phpmyadmin", "/pma/",
	".php", ".asp", ".jsp", ".cgi", "/cgi-bin", "/actuator", "/server-status", "/solr/", "/jenkins", "/manager/html", "/vendor/phpunit",
	"/boaform", "/hnap1", "/owa/", "/autodiscover", "/backup.zip", "/dump.sql", "/config.json", "/etc/passwd",
}

const (
	// reporting bounds the reports under way: a scanner that is faster is counted all the same, only less often.
	reporting     = 8
	reportTimeout = 5 * time.Second
)

// reporter is the part of auth that counts probes.
type reporter interface {
	ReportProbe(ctx context.Context, in *authv1.ReportProbeRequest, opts ...grpc.CallOption) (*authv1.ReportProbeResponse, error)
}

// probes tells auth of clients that ask for what only scanners ask for (claim DH-39).
type probes struct {
	auth  reporter
	slots chan struct{}
}

func newProbes(auth reporter) *probes {
	return &probes{auth: auth, slots: make(chan struct{}, reporting)}
}

// note reports the client without making it wait.
func (p *probes) note(r *http.Request) {
	// Another site's page can make its readers' browsers ask for such a path; they are no scanners.
	if !probe(r.URL.Path) || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		return
	}
	ctx := context.WithoutCancel(r.Context())
	go func() {
		defer func() { <-p.slots }()
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, metadata.MD{}), reportTimeout)
		defer cancel()
		// What cannot be counted now is counted at the next probe; auth logs its own failures.
		_, _ = p.auth.ReportProbe(ctx, &authv1.ReportProbeRequest{Client: clientOf(ctx)})
	}()
}

func probe(path string) bool {
	path = strings.ToLower(path)
	for _, part := range probed {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}
