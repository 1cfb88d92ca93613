package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

type reports chan *authv1.ReportProbeRequest

func (r reports) ReportProbe(_ context.Context, in *authv1.ReportProbeRequest, _ ...grpc.CallOption) (*authv1.ReportProbeResponse, error) {
	r <- in
	return &authv1.ReportProbeResponse{}, nil
}

func TestDH39_OnlyPathsOfScannersAreReported(t *testing.T) {
	t.Parallel()
	heard := make(reports, 10)
	p := newProbes(heard)
	for _, path := range []string{"/v1/patients", "/v1/nothing", "/environment", "/favicon.ico", "/v1/users/git"} {
		p.note(httptest.NewRequest(http.MethodGet, path, nil))
	}
	lured := httptest.NewRequest(http.MethodGet, "/.env", nil)
	lured.Header.Set("Sec-Fetch-Site", "cross-site")
	p.note(lured)
	for _, path := range []string{"/.env", "/.git/config", "/WP-login.php", "/a/phpMyAdmin/index.php"} {
		p.note(httptest.NewRequest(http.MethodGet, path, nil))
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Fatal("not reported: " + path)
		}
	}
	require.Empty(t, heard)
}
