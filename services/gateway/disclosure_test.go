package main

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/gateway/disclosure"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

type vulnerabilityHandlers struct {
	auditv1.UnimplementedVulnerabilityServiceServer
	seen *auditv1.SubmitReportRequest
}

func (h *vulnerabilityHandlers) SubmitReport(_ context.Context, r *auditv1.SubmitReportRequest) (*auditv1.SubmitReportResponse, error) {
	h.seen = r
	return &auditv1.SubmitReportResponse{Name: "vulnerabilityReports/0194c9a0-0000-7000-8000-0000000000a1", Secret: "ckv_secret", AcknowledgeBy: "2026-12-04"}, nil
}

// fields reads a file by RFC 9116, section 4: comments, blank lines, and "Name: value".
func fields(t *testing.T, file []byte) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		if line := lines.Text(); line != "" && !strings.HasPrefix(line, "#") {
			name, value, ok := strings.Cut(line, ": ")
			require.True(t, ok, line)
			found[name] = append(found[name], value)
		}
	}
	return found
}

func TestDMD34_SecurityTxtIsThatOfRFC9116(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/.well-known/security.txt", "", "Authorization", "")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
	requireSecure(t, "security.txt", got.header)
	read := fields(t, got.body)
	require.Equal(t, []string{"mailto:security@test.example", "https://test.example/security"}, read["Contact"], "in order of preference")
	require.Equal(t, []string{"https://api.test.example/.well-known/security.txt"}, read["Canonical"])
	require.Equal(t, []string{"https://api.test.example/security-policy"}, read["Policy"])
	require.Equal(t, []string{"en, de"}, read["Preferred-Languages"])
	require.Len(t, read["Expires"], 1)
	expires, err := time.Parse(time.RFC3339, read["Expires"][0])
	require.NoError(t, err)
	require.True(t, expires.After(time.Now().AddDate(0, 11, 0)) && expires.Before(time.Now().AddDate(1, 0, 0)), "less than a year ahead: %s", expires)
	require.Empty(t, s.auth.admitted(), "nobody has to sign in for it")
}

func TestDC26_ThePolicyPromisesSafeHarbourAndFiveBusinessDays(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/security-policy", "", "Authorization", "")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
	require.Equal(t, string(edge.AccountPages), got.header.Get("Content-Security-Policy"))
	requireSecure(t, "policy", got.header)
	root, err := html.Parse(bytes.NewReader(got.body))
	require.NoError(t, err)
	var words strings.Builder
	links := map[string]bool{}
	for node := range root.Descendants() {
		if node.Type == html.TextNode {
			words.WriteString(node.Data)
		}
		for _, a := range node.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style" || node.Data == "script", "the policy of the page forbids it")
			if a.Key == "href" {
				links[a.Val] = true
			}
		}
	}
	text := strings.Join(strings.Fields(words.String()), " ")
	for _, promise := range []string{
		"Safe harbour", "in good faith", "we take no legal action against you", "within 5 business days", "In scope", "Out of scope",
		"https://api.test.example/v1/vulnerabilityReports",
	} {
		require.Contains(t, text, promise)
	}
	require.True(t, links["mailto:security@test.example"] && links["https://test.example/security"], "%v", links)
}

func TestDMD34_AReportNeedsNoSessionAndTellsWhereItCameFrom(t *testing.T) {
	s := newSuite(t)
	body := `{"content":{"title":"t","description":"canary-d41d"},"client":{"address":"192.0.2.99"}}`
	got := s.call("POST", "/v1/vulnerabilityReports", body, "Authorization", "")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Contains(t, string(got.body), `"secret":"ckv_secret"`)
	requireSecure(t, "ticket", got.header)
	require.Equal(t, "127.0.0.1", s.vulnerabilities.seen.GetClient().GetAddress(), "whatever the client says")
	require.Empty(t, s.auth.admitted())
	require.NotContains(t, s.logs.String(), "canary-d41d")
	for _, path := range []string{"/v1/vulnerabilityReports", "/v1/vulnerabilityReports/0194c9a0-0000-7000-8000-0000000000a1"} {
		require.Equal(t, http.StatusUnauthorized, s.call("GET", path, "", "Authorization", "").status, "reading takes a session")
	}
}

func TestDH56_AReviewInTheFutureIsRefusedAndAnOldOneIsLogged(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for reviewed, want := range map[string]string{
		"2026-11-27": "", "2026-11-28": "", "2025-12-29": "", // ends on 28 December, in 31 days
		"2026-11-29": "future", "2025-12-27": "REVIEW_DUE", "2020-01-01": "REVIEW_DUE",
	} {
		var log bytes.Buffer
		handlers, err := disclosure.Handlers(disclosure.Config{
			URL: "https://api.test.example", Contacts: []string{"mailto:security@test.example"}, Languages: []string{"en"}, Reviewed: reviewed,
		}, slog.New(slog.NewTextHandler(&log, nil)), now)
		if want == "future" {
			require.ErrorContains(t, err, "disclosure.reviewed", reviewed)
			continue
		}
		require.NoError(t, err)
		require.Len(t, handlers, 2)
		require.Equal(t, want != "", strings.Contains(log.String(), "REVIEW_DUE"), "%s: %s", reviewed, log.String())
	}
}
