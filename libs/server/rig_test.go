package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/server"
)

const (
	records = accessv1.Service_SERVICE_RECORDS
	wait    = 10 * time.Second
	every   = 10 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps events in memory, or fails as a database that is down would.
type sink struct {
	mu     sync.Mutex
	events []*auditv1.Event
	down   bool
}

func (s *sink) Record(ctx context.Context, events ...*auditv1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.down {
		return errors.New("connect to 10.9.8.7: refused")
	}
	s.events = append(s.events, events...)
	return nil
}

func (s *sink) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// take returns the events since the last take.
func (s *sink) take() []*auditv1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.events
	s.events = nil
	return out
}

// syncBuffer is a log that a test reads while the server writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// rig is a running server with the probe on it, and a client in the gateway's place.
type rig struct {
	t       testing.TB
	ca      *ca.CA
	auth    *callertest.Authority
	sink    *sink
	log     *syncBuffer
	cfg     server.Config
	opts    server.Options
	probe   *probe
	server  *server.Server
	web     func(*server.Server) // opens the HTTP port, where there is one
	conn    *grpc.ClientConn
	stop    context.CancelFunc
	stopped chan error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, ca: ca.ForTest(t), auth: callertest.New(t), sink: &sink{}, log: &syncBuffer{}}
	files, err := r.ca.Issue("records")
	require.NoError(t, err)
	r.cfg = server.Config{
		Listen: "127.0.0.1:0", TrustDomain: r.ca.TrustDomain(), TLS: files, Callers: server.Callers{Keys: r.auth.Keys},
	}
	r.opts = server.Options{Service: records, Sink: r.sink, Log: slog.New(slog.NewJSONHandler(r.log, nil))}
	r.probe = &probe{
		unary: func(_ context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
			return &auditv1.Entry{Seq: req.GetSeq(), Line: "line", EventBytes: []byte("bytes"), Salt: []byte("salt")}, nil
		},
		stream: echo,
	}
	return r
}

// echo answers each message of a stream with an entry.
func echo(ss grpc.ServerStream) error {
	for {
		req := &auditv1.GetEntryRequest{}
		if err := ss.RecvMsg(req); err != nil {
			return ignoreEOF(err)
		}
		if err := ss.SendMsg(&auditv1.Entry{Seq: req.GetSeq(), EventBytes: []byte("bytes")}); err != nil {
			return err
		}
	}
}

// start serves and connects as the gateway.
func (r *rig) start() *rig {
	r.t.Helper()
	var err error
	ctx, cancel := context.WithCancel(context.Background())
	r.server, err = server.New(ctx, r.cfg, r.opts)
	require.NoError(r.t, err)
	r.probe.register(r.server)
	if r.web != nil {
		r.web(r.server)
	}
	r.stop, r.stopped = cancel, make(chan error, 1)
	go func() { r.stopped <- r.server.Serve(ctx) }()
	r.t.Cleanup(r.end)
	r.conn = r.dial("gateway")
	return r
}

// end stops the server and waits for it; more than once does no harm.
func (r *rig) end() {
	r.stop()
	select {
	case err := <-r.stopped:
		require.NoError(r.t, err)
		r.stopped <- nil
	case <-time.After(wait):
		require.Fail(r.t, "the server did not stop")
	}
}

func (r *rig) source(name string) *mtls.Source {
	r.t.Helper()
	s, err := r.ca.Source(name)
	require.NoError(r.t, err)
	return s
}

func (r *rig) dial(name string) *grpc.ClientConn {
	r.t.Helper()
	conn, err := r.source(name).Dial(r.server.Addr().String(), records)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as returns a context with a token for a doctor who holds the permissions.
func (r *rig) as(permissions ...accessv1.Permission) context.Context {
	r.t.Helper()
	return caller.Attach(r.context(), r.auth.Token(r.t, callertest.Doctor(records, permissions...)))
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) call(ctx context.Context, method string) (*auditv1.Entry, error) {
	return invoke(ctx, r.conn, method, 1)
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method string, seq int64) (*auditv1.Entry, error) {
	out := &auditv1.Entry{}
	err := conn.Invoke(ctx, method, &auditv1.GetEntryRequest{Seq: seq}, out)
	return out, err
}

func (r *rig) open(ctx context.Context, method string) grpc.ClientStream {
	r.t.Helper()
	ss, err := r.conn.NewStream(ctx, probeStream, method)
	require.NoError(r.t, err)
	return ss
}

// want checks code and reason of an answer and that exactly one event tells of it.
func (r *rig) want(err error, code codes.Code, reason string, outcome auditv1.Outcome) *auditv1.Event {
	r.t.Helper()
	requireStatus(r.t, err, code, reason)
	events := r.sink.take()
	require.Len(r.t, events, 1)
	e := events[0]
	require.Equal(r.t, outcome, e.GetOutcome())
	require.EqualValues(r.t, code, e.GetCode())
	require.Equal(r.t, reason, e.GetReason())
	return e
}

func requireStatus(t testing.TB, err error, code codes.Code, reason string) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	require.Equal(t, reason, reasonOf(err), "%v", err)
}

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
