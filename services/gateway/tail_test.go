package main

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

type tailServer = grpc.ServerStreamingServer[auditv1.TailEntriesResponse]

// readingHandlers are those of audit's ReadingService.
type readingHandlers struct {
	auditv1.UnimplementedReadingServiceServer
	tail   func(*auditv1.TailEntriesRequest, tailServer) error
	search func(*auditv1.SearchAuditEventsRequest) (*auditv1.SearchAuditEventsResponse, error)
}

func (h *readingHandlers) SearchAuditEvents(_ context.Context, r *auditv1.SearchAuditEventsRequest) (*auditv1.SearchAuditEventsResponse, error) {
	return h.search(r)
}

func (h *readingHandlers) TailEntries(r *auditv1.TailEntriesRequest, stream tailServer) error {
	return h.tail(r, stream)
}

// listen opens a stream of events and reads it block by block.
func (s *suite) listen(path string, headers ...string) (*http.Response, func() string) {
	s.t.Helper()
	response, err := s.client(true).Do(s.request(http.MethodGet, path, "", headers...))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	return response, func() string {
		var block []string
		for lines.Scan() {
			if lines.Text() == "" {
				return strings.Join(block, "\n")
			}
			block = append(block, lines.Text())
		}
		return "EOF" + strings.Join(block, "\n")
	}
}

func TestDH34_TheTailIsServerSentEvents(t *testing.T) {
	s := newSuite(t)
	asked := make(chan *auditv1.TailEntriesRequest, 1)
	gone := make(chan struct{}, 1)
	s.reading.tail = func(r *auditv1.TailEntriesRequest, stream tailServer) error {
		asked <- r
		for _, m := range []*auditv1.TailEntriesResponse{
			{NextSeq: 7}, {NextSeq: 9, Entry: &auditv1.Entry{Seq: 8, Line: "13:04:22 READ dr.smith→- [OK]\n\ndata: forged"}},
		} {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		<-stream.Context().Done()
		gone <- struct{}{}
		return nil
	}
	response, next := s.listen("/v1/audit/entries:tail?minRisk=RISK_HIGH&fromSeq=3", "Last-Event-ID", "7")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	r := <-asked
	require.Equal(t, int64(7), r.GetFromSeq(), "where the client was counts for more than where it once began")
	require.Equal(t, auditv1.Risk_RISK_HIGH, r.GetMinRisk())
	require.Equal(t, "retry: 3000", next())
	require.Equal(t, ": heartbeat\nid: 7", next())
	block := strings.Split(next(), "\n")
	require.Len(t, block, 3, "one line of data, whatever it holds")
	require.Equal(t, []string{"event: entry", "id: 9"}, block[:2])
	require.True(t, strings.HasPrefix(block[2], `data: {"seq":"8"`), block[2])
	require.NoError(t, response.Body.Close())
	<-gone // the service learns that nobody listens any more

	for _, id := range []string{"x", "-1"} {
		require.Equal(t, "PARAMETER_MALFORMED", s.call(http.MethodGet, "/v1/audit/entries:tail", "", "Last-Event-ID", id).reason(t))
	}
	require.Equal(t, "PARAMETER_MALFORMED", s.call(http.MethodGet, "/v1/audit/entries:tail?minRisk=odd", "").reason(t))
	require.Equal(t, "PARAMETER_UNKNOWN", s.call(http.MethodGet, "/v1/audit/entries:tail?minrisk=odd", "").reason(t))
	s.reading.tail = func(*auditv1.TailEntriesRequest, tailServer) error {
		return errs.New(errs.KindLimited, "TAILS_TOO_MANY", "too many")
	}
	got := s.call(http.MethodGet, "/v1/audit/entries:tail", "")
	require.Equal(t, http.StatusTooManyRequests, got.status, "an error before the first event is an ordinary one")
	require.Equal(t, "TAILS_TOO_MANY", got.reason(t))
}

// The stream ends with the session, says why, and asking for the session does not keep it alive.
func TestDH34_TheTailEndsWithTheSession(t *testing.T) {
	s := newSuite(t, func(s *Settings) { s.Limits.CheckSeconds = 1 })
	s.reading.tail = func(_ *auditv1.TailEntriesRequest, stream tailServer) error {
		if err := stream.Send(&auditv1.TailEntriesResponse{NextSeq: 7}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}
	_, next := s.listen("/v1/audit/entries:tail")
	require.Equal(t, "retry: 3000", next())
	require.Equal(t, ": heartbeat\nid: 7", next())
	admitted := func() (n, background int) {
		s.auth.mu.Lock()
		defer s.auth.mu.Unlock()
		for _, a := range s.auth.admits {
			if a.GetBackground() {
				background++
			}
		}
		return len(s.auth.admits), background
	}
	require.Eventually(t, func() bool { _, n := admitted(); return n > 0 }, 10*time.Second, 10*time.Millisecond)
	s.auth.mu.Lock()
	s.auth.refuse = errs.New(errs.KindUnauthenticated, "SESSION_ENDED", "the session has ended")
	s.auth.mu.Unlock()
	end := next()
	require.True(t, strings.HasPrefix(end, "event: end\ndata: {"), end)
	require.Contains(t, end, "SESSION_ENDED")
	require.Equal(t, "EOF", next())
	all, background := admitted()
	require.Equal(t, 1, all-background)
}

// A tail that the service cuts ends with its reason; one that just ends does not.
func TestATailThatIsCutSaysWhy(t *testing.T) {
	s := newSuite(t)
	for reason, failure := range map[string]error{"TAIL_TOO_SLOW": errs.New(errs.KindUnavailable, "TAIL_TOO_SLOW", "slow"), "": nil} {
		s.reading.tail = func(_ *auditv1.TailEntriesRequest, stream tailServer) error {
			if err := stream.Send(&auditv1.TailEntriesResponse{NextSeq: 7}); err != nil {
				return err
			}
			return failure
		}
		_, next := s.listen("/v1/audit/entries:tail")
		require.Equal(t, "retry: 3000", next())
		require.Equal(t, ": heartbeat\nid: 7", next())
		if reason != "" {
			require.Contains(t, next(), reason)
		}
		require.Equal(t, "EOF", next())
	}
}

// The log answers FHIR searches of AuditEvent below the path of records' FHIR API.
func TestDH34_AuditEventSearchesGoToTheLog(t *testing.T) {
	s := newSuite(t)
	var asked string
	s.reading.search = func(r *auditv1.SearchAuditEventsRequest) (*auditv1.SearchAuditEventsResponse, error) {
		asked = r.GetParameters()
		return &auditv1.SearchAuditEventsResponse{Bundle: `{"resourceType":"Bundle"}`}, nil
	}
	const form, path = "application/x-www-form-urlencoded", "/fhir/R4/AuditEvent/_search"
	got := s.call(http.MethodPost, path, "patient=x&_count=2", "Content-Type", form)
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Equal(t, "application/fhir+json; charset=utf-8", got.header.Get("Content-Type"))
	require.Equal(t, `{"resourceType":"Bundle"}`, string(got.body))
	require.Equal(t, "patient=x&_count=2", asked)
	require.NotContains(t, s.logs.String(), "patient=x")

	outcomeOf := func(want int, reason string, got answer) {
		t.Helper()
		require.Equal(t, want, got.status, "%s", got.body)
		require.Contains(t, string(got.body), `"OperationOutcome"`)
		require.Contains(t, string(got.body), reason)
	}
	outcomeOf(http.StatusUnauthorized, "SESSION_MISSING", s.call(http.MethodPost, path, "patient=x", "Content-Type", form, "Authorization", ""))
	outcomeOf(http.StatusUnsupportedMediaType, "BODY_TYPE_UNSUPPORTED", s.call(http.MethodPost, path, "{}"))
	outcomeOf(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", s.call(http.MethodGet, "/fhir/R4/AuditEvent?patient=x", ""))
	outcomeOf(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", s.call(http.MethodGet, "/fhir/R4/AuditEvent/1", ""))
	s.reading.search = func(*auditv1.SearchAuditEventsRequest) (*auditv1.SearchAuditEventsResponse, error) {
		return nil, errs.New(errs.KindInvalid, "SEARCH_PARAMETER_INVALID", "the search is not taken").WithField("entity", "unknown")
	}
	outcomeOf(http.StatusBadRequest, "SEARCH_PARAMETER_INVALID", s.call(http.MethodPost, path, "entity=x", "Content-Type", form))
}
