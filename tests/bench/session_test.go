package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheHarnessTimesAnyEndpoint(t *testing.T) {
	t.Parallel()
	serve := func(header, value string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(header) != value {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		t.Cleanup(server.Close)
		return server
	}
	ours, theirs := serve("Authorization", "Bearer x"), serve("X-Session-Token", "y")
	var out bytes.Buffer
	run := &endpoints{
		URL: []string{ours.URL, theirs.URL},
		measured: measured{
			Header:  []string{"1=Authorization: Bearer x", "2=X-Session-Token: y"},
			Clients: 2, Length: 20 * time.Millisecond, Rounds: 1,
		},
	}
	require.NoError(t, run.Run(t.Context(), &out))
	require.Equal(t, 2, strings.Count(out.String(), "/s, p50 "))
	require.Contains(t, out.String(), "1.00 of the first")

	run.Header = run.Header[:1]
	require.ErrorContains(t, run.Run(t.Context(), &out), "401", "a session that is not good is no figure")
	_, err := headersOf([]string{"secret"}, 1)
	require.ErrorContains(t, err, "Name: value")
	require.NotContains(t, err.Error(), "secret")
}
