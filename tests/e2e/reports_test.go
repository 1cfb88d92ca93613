package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// A finder reads security.txt, follows its policy, reports without an account, and learns what
// became of it; who runs the installation handles it, and an administrator of a practice cannot.
func TestDMD34_DH56_DC26_AFinderReportsOverRESTAndIsAnswered(t *testing.T) {
	plain, err := suite.Client()
	require.NoError(t, err)
	read := func(path string) string {
		t.Helper()
		response, err := plain.Get(suite.URL() + path)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	_, policy, ok := strings.Cut(read("/.well-known/security.txt"), "Policy: "+suite.PageURL())
	require.True(t, ok)
	require.Contains(t, read(strings.TrimSpace(policy)), "Safe harbour")

	finder := api.New(suite.URL(), plain)
	var ticket auditv1.SubmitReportResponse
	require.NoError(t, finder.Call(t.Context(), http.MethodPost, "/v1/vulnerabilityReports", &auditv1.SubmitReportRequest{
		Content: &auditv1.ReportContent{Title: "A way in", Description: "Through the window.", Contact: "finder@research.example"},
	}, &ticket))
	refused(t, finder, http.MethodGet, "/v1/"+ticket.GetName(), nil, http.StatusUnauthorized, "SESSION_MISSING")
	refused(t, as(t, seed.Admin), http.MethodGet, "/v1/"+ticket.GetName(), nil, http.StatusForbidden, "PERMISSION_MISSING")

	root := as(t, seed.Superadmin)
	var open auditv1.ListReportsResponse
	require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/vulnerabilityReports?openOnly=true", nil, &open))
	var names []string
	for _, r := range open.GetReports() {
		names = append(names, r.GetName())
	}
	require.Contains(t, names, ticket.GetName())
	var report auditv1.VulnerabilityReport
	require.NoError(t, root.Call(t.Context(), http.MethodGet, "/v1/"+ticket.GetName(), nil, &report))
	assert.Equal(t, "Through the window.", report.GetContent().GetDescription())
	require.NoError(t, root.Call(t.Context(), http.MethodPost, "/v1/"+ticket.GetName()+":acknowledge",
		&auditv1.AcknowledgeReportRequest{Text: "Thank you, we are on it."}, &report))

	var told auditv1.CheckReportResponse
	require.NoError(t, finder.Call(t.Context(), http.MethodPost, "/v1/vulnerabilityReports:check",
		&auditv1.CheckReportRequest{Name: ticket.GetName(), Secret: ticket.GetSecret()}, &told))
	assert.Equal(t, auditv1.ReportState_REPORT_STATE_ACKNOWLEDGED, told.GetState())
	require.Len(t, told.GetMessages(), 1)
	assert.Equal(t, "Thank you, we are on it.", told.GetMessages()[0].GetText())
	refused(t, finder, http.MethodPost, "/v1/vulnerabilityReports:check", nil, http.StatusBadRequest, "REQUEST_INVALID")
}
