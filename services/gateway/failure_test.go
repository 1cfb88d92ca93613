package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func TestErrorsBecomeHTTPStatus(t *testing.T) {
	s := newSuite(t)
	client := s.client(true)
	var failure error
	s.records.get = func(context.Context, *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) { return nil, failure }
	for name, c := range map[string]struct {
		err    error
		status int
		reason string
	}{
		"not found":    {errs.New(errs.KindNotFound, "NOT_FOUND", "no such patient"), 404, "NOT_FOUND"},
		"conflict":     {errs.New(errs.KindConflict, "ETAG_STALE", "read it again"), 409, "ETAG_STALE"},
		"exists":       {errs.New(errs.KindExists, "EXISTS", "there is one"), 409, "EXISTS"},
		"denied":       {errs.New(errs.KindDenied, "DENIED", "no"), 403, "DENIED"},
		"precondition": {errs.New(errs.KindPrecondition, "NOT_YET", "first that"), 400, "NOT_YET"},
		"data loss":    {errs.New(errs.KindDataLoss, "SEAL_BROKEN", "damaged"), 500, "SEAL_BROKEN"},
		"unavailable":  {errs.New(errs.KindUnavailable, "DATABASE_DOWN", "later").WithRetry(5 * time.Second), 503, "DATABASE_DOWN"},
		"unknown":      {errors.New("pq: row of Jane Roe is odd"), 500, "INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			failure = c.err
			got := s.do(client, s.request("GET", "/v1/"+somePatient, ""))
			require.Equal(t, c.status, got.status, "%s", got.body)
			require.Equal(t, c.reason, got.reason(t))
			require.NotContains(t, string(got.body), "Jane Roe")
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			if name == "unavailable" {
				require.Equal(t, "5", got.header.Get("Retry-After"))
			}
		})
	}
}

func TestUnknownPathsAndMethodsAnswerStatus(t *testing.T) {
	s := newSuite(t)
	for _, c := range []struct {
		method, path, reason string
		status               int
	}{
		{"GET", "/v1/nothing", "ROUTE_UNKNOWN", 404},
		{"GET", "/favicon.ico", "ROUTE_UNKNOWN", 404},
		{"GET", "//v1/self", "ROUTE_UNKNOWN", 404},
		{"GET", "/v1/../v1/self", "ROUTE_UNKNOWN", 404},
		{"GET", "/v1/patients/a/b/c", "ROUTE_UNKNOWN", 404},
		{"PUT", "/v1/patients", "METHOD_NOT_ALLOWED", 405},
		{"GET", "/v1/patients:search", "METHOD_NOT_ALLOWED", 405},
	} {
		r := s.request(c.method, "/", "")
		r.URL.Opaque = "//" + s.addr + c.path
		got := s.do(s.client(true), r)
		require.Equal(t, c.status, got.status, c.path)
		require.Equal(t, c.reason, got.reason(t), c.path)
	}
	require.Empty(t, s.auth.admitted())
}

// A service that is down is named by nothing but its effect: no address, no cause.
func TestServiceDownAnswers503(t *testing.T) {
	s := newSuite(t)
	s.stopUpstream[accessv1.Service_SERVICE_RECORDS]()
	got := s.call("GET", "/v1/"+somePatient, "")
	require.Equal(t, http.StatusServiceUnavailable, got.status, "%s", got.body)
	require.Equal(t, "DEPENDENCY_UNAVAILABLE", got.reason(t))
	require.NotContains(t, string(got.body), "127.0.0.1")

	s.stopUpstream[accessv1.Service_SERVICE_AUTH]()
	got = s.call("GET", "/v1/backups", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status, "no admission, no access: %s", got.body)
}

func TestStreamsAnswerLinesOrAnHTTPError(t *testing.T) {
	s := newSuite(t)
	s.backup.create = func(stream grpc.ServerStreamingServer[backupv1.CreateBackupResponse]) error {
		for _, n := range []int64{1, 2} {
			if err := stream.Send(&backupv1.CreateBackupResponse{SourceBytes: n}); err != nil {
				return err
			}
		}
		return errs.New(errs.KindUnavailable, "STORAGE_FULL", "no room")
	}
	got := s.call("POST", "/v1/backups", "{}")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "application/x-ndjson", got.header.Get("Content-Type"))
	lines := strings.Split(strings.TrimSpace(string(got.body)), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"result":{"sourceBytes":"2"}}`, lines[1])
	var last struct{ Error json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &last))
	require.Equal(t, "STORAGE_FULL", answer{body: last.Error}.reason(t))

	// Before the first line, an error is an ordinary one, with all that belongs to it.
	s.backup.create = func(grpc.ServerStreamingServer[backupv1.CreateBackupResponse]) error {
		return errs.New(errs.KindLimited, "RATE_LIMITED", "too many").WithRetry(3 * time.Second)
	}
	got = s.call("POST", "/v1/backups", "{}")
	require.Equal(t, http.StatusTooManyRequests, got.status, "%s", got.body)
	require.Equal(t, "RATE_LIMITED", got.reason(t))
	require.Equal(t, "3", got.header.Get("Retry-After"))

	s.backup.create = func(grpc.ServerStreamingServer[backupv1.CreateBackupResponse]) error { return nil }
	got = s.call("POST", "/v1/backups", "{}")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Empty(t, got.body)
}

func TestAnswerLargerThanTheLimit(t *testing.T) {
	s := newSuite(t, func(c *Settings) { c.Limits.ResponseBytes = 1 << 10 })
	s.records.get = func(_ context.Context, r *recordsv1.GetPatientRequest) (*recordsv1.Patient, error) {
		return &recordsv1.Patient{Name: r.GetName(), FamilyName: strings.Repeat("x", 2<<10)}, nil
	}
	got := s.call("GET", "/v1/"+somePatient, "")
	require.Equal(t, http.StatusRequestEntityTooLarge, got.status)
	require.Equal(t, "MESSAGE_TOO_LARGE", got.reason(t))
}

// Text of statuses that are not carekeep's own may hold anything.
func TestForeignStatusTextIsReplaced(t *testing.T) {
	s := newSuite(t)
	s.auth.fail(status.Error(codes.FailedPrecondition, "row of Jane Roe"))
	got := s.call("GET", "/v1/self", "")
	require.NotContains(t, string(got.body), "Jane Roe")
}
