package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const refusal = `{"code":%d,"message":"not now","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"carekeep"}%s]}`

func client(t *testing.T, handler http.HandlerFunc) *api.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return api.New(server.URL, server.Client())
}

func TestRefusalIsReadAndNothingElseIsMadeOfIt(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]api.Refusal{
		fmt.Sprintf(refusal, 5, "NOT_FOUND", ""): {Code: codes.NotFound, Reason: "NOT_FOUND", Message: "not now"},
		"<html>":                                 {Code: codes.Unknown, Message: `"<html>"`},
	} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
		})
		err := c.Call(t.Context(), http.MethodGet, "/v1/patients/1", nil, nil)
		var got *api.Refusal
		require.ErrorAs(t, err, &got)
		want.Method, want.Path, want.Status = http.MethodGet, "/v1/patients/1", http.StatusNotFound
		require.Equal(t, want, *got)
	}
}

func TestLimitIsWaitedOutAndTheBundleSentAgain(t *testing.T) {
	t.Parallel()
	var sent []string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Header.Get("Authorization")+" "+string(body))
		if len(sent) == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = fmt.Fprintf(w, refusal, 8, "REQUESTS_LIMITED", `,{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.05s"}`)
			return
		}
		_, _ = io.WriteString(w, `{"progress":{"created":"1"}}
{"problem":{"index":"1","reason":"ENTRY_MALFORMED"}}
{"result":{"created":"1","refused":"1"}}
`)
	}).With("token")
	begun := time.Now()
	done, err := c.Import(t.Context(), bytes.NewReader([]byte("bundle")), "users/1", nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
	require.Equal(t, []string{"Bearer token bundle", "Bearer token bundle"}, sent)
	require.Equal(t, int64(1), done.Total.GetCreated())
	require.Equal(t, "ENTRY_MALFORMED", done.Problems[0].GetReason())
}

func TestStreamThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ":import") {
			_, _ = io.WriteString(w, `{"progress":{"created":"1"}}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"result":{"sourceBytes":"7"}}`+"\n"+`{"error":`+refusal+`}`, 14, "GONE", "")
	})
	_, err := c.Import(t.Context(), strings.NewReader("bundle"), "", func(*recordsv1.ImportProgress) {})
	require.ErrorContains(t, err, "broke off")
	var seen []int64
	err = api.Stream(t.Context(), c, "/v1/backups", &backupv1.CreateBackupRequest{}, func() *backupv1.CreateBackupResponse { return new(backupv1.CreateBackupResponse) },
		func(m *backupv1.CreateBackupResponse) error { seen = append(seen, m.GetSourceBytes()); return nil })
	var got *api.Refusal
	require.ErrorAs(t, err, &got)
	require.Equal(t, "GONE", got.Reason)
	require.Equal(t, []int64{7}, seen)
}

func TestCodeIsThatOfRFC6238(t *testing.T) {
	t.Parallel()
	// Appendix B, SHA-1, the last six of the eight digits.
	code, err := api.Code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", time.Unix(1111111109, 0))
	require.NoError(t, err)
	require.Equal(t, "081804", code)
}
