package server_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/server"
)

func TestDH15_RPCWithoutARuleRefusesToStart(t *testing.T) {
	r := newRig(t)
	s, err := server.New(t.Context(), r.cfg, r.opts)
	require.NoError(t, err)
	r.probe.register(s)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "sneaky.Service", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Dump"}},
	}, nil)
	err = s.Serve(t.Context())
	require.ErrorContains(t, err, "/sneaky.Service/Dump declares no access rule")
	require.NotContains(t, err.Error(), probeName)
	_, err = net.DialTimeout("tcp", s.Addr().String(), time.Second)
	require.Error(t, err, "the listener is closed")
}

func TestNewRefusesWhatWouldLeaveItOpen(t *testing.T) {
	r := newRig(t)
	for want, change := range map[string]func(*server.Config, *server.Options){
		"callers.keys":         func(c *server.Config, _ *server.Options) { c.Callers.Keys = "" },
		"trust_domain":         func(c *server.Config, _ *server.Options) { c.TrustDomain = "" },
		"listen":               func(c *server.Config, _ *server.Options) { c.Listen = "4000" },
		"limits.drain_seconds": func(c *server.Config, _ *server.Options) { c.Limits.DrainSeconds = -1 },
		"Options.Sink":         func(_ *server.Config, o *server.Options) { o.Sink = nil },
		"Options.Service":      func(_ *server.Config, o *server.Options) { o.Service = 0 },
		"caller_keys": func(_ *server.Config, o *server.Options) {
			o.Ready = map[string]func(context.Context) error{"caller_keys": func(context.Context) error { return nil }}
		},
		"certificate":  func(c *server.Config, _ *server.Options) { c.TLS.Certificate = "none" },
		"no such file": func(c *server.Config, _ *server.Options) { c.Callers.Keys = "none" },
		"listen tcp":   func(c *server.Config, _ *server.Options) { c.Listen = "192.0.2.1:1" },
		"insecure_loopback": func(c *server.Config, _ *server.Options) {
			c.Telemetry.Endpoint, c.Telemetry.InsecureLoopback = "collector:4317", true
		},
	} {
		cfg, opts := r.cfg, r.opts
		change(&cfg, &opts)
		_, err := server.New(t.Context(), cfg, opts)
		if want == "certificate" {
			want = "none"
		}
		require.ErrorContains(t, err, want)
	}
}

func TestConfigurationLoadsAndUnknownKeysAreFatal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "service.yaml")
	text := `
listen: 127.0.0.1:4000
trust_domain: carekeep.test
tls: {certificate: a.crt, key: a.key, authorities: ca.crt}
callers: {keys: callers.jwks}
limits: {receive_bytes: 1000, drain_seconds: 3}
telemetry: {endpoint: "127.0.0.1:4317", insecure_loopback: true, sample_ratio: 0.5}
`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var cfg server.Config
	require.NoError(t, config.Load(path, &cfg))
	require.Equal(t, filepath.Join(dir, "callers.jwks"), cfg.Callers.Keys)
	require.Equal(t, filepath.Join(dir, "a.crt"), cfg.Files().Certificate)
	require.Equal(t, "carekeep.test", cfg.Files().TrustDomain)
	require.InDelta(t, 0.5, *cfg.Telemetry.SampleRatio, 0)

	require.NoError(t, os.WriteFile(path, []byte(text+"reflection: true\n"), 0o600))
	require.ErrorContains(t, config.Load(path, &server.Config{}), "reflection")
}

func TestRealServicesStart(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := server.New(ctx, r.cfg, r.opts)
	require.NoError(t, err)
	backupv1.RegisterBackupServiceServer(s, backupv1.UnimplementedBackupServiceServer{})
	auditv1.RegisterAuditServiceServer(s, auditv1.UnimplementedAuditServiceServer{})
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	conn, err := r.source("ctl").Dial(s.Addr().String(), records)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = auditv1.NewAuditServiceClient(conn).GetEntry(r.as(readEntries), &auditv1.GetEntryRequest{}, grpc.WaitForReady(true))
	require.Equal(t, codes.Unimplemented, status.Code(err))
	cancel()
	require.NoError(t, <-done)
}

func TestRuleBoundsTheTimeOfAnRPC(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(ctx context.Context, _ *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	begin := time.Now()
	_, err := r.call(r.as(readEntries), quickRPC)
	r.want(err, codes.DeadlineExceeded, "DEADLINE_EXCEEDED", failed)
	require.Less(t, time.Since(begin), 5*time.Second)

	// A stream that waits for its client ends as well: gRPC's own wait knows nothing of the rule.
	ss := r.open(r.as(readEntries), quickStreamRPC)
	r.want(ss.RecvMsg(&auditv1.Entry{}), codes.DeadlineExceeded, "DEADLINE_EXCEEDED", failed)

	// And one whose client does not read.
	r.probe.stream = func(ss grpc.ServerStream) error {
		for {
			if err := ss.SendMsg(&auditv1.Entry{Line: string(make([]byte, 64<<10))}); err != nil {
				return err
			}
		}
	}
	_ = r.open(r.as(readEntries), quickStreamRPC)
	require.Eventually(t, func() bool {
		events := r.sink.take()
		return len(events) == 1 && events[0].GetReason() == "DEADLINE_EXCEEDED"
	}, wait, every)

	ctx, cancel := context.WithTimeout(r.as(readEntries), 50*time.Millisecond)
	defer cancel()
	_, err = r.call(ctx, getRPC)
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "a client that asks for less gets less")
}

func TestStoppingLetsRPCsFinish(t *testing.T) {
	r := newRig(t).start()
	entered, release := make(chan struct{}), make(chan struct{})
	r.probe.unary = func(ctx context.Context, _ *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		close(entered)
		<-release
		return &auditv1.Entry{Seq: 42}, ctx.Err()
	}
	// A health watch would last as long as its client; it must not hold the shutdown up.
	watching, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(r.conn).Watch(watching, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	answers := make(chan error, 1)
	go func() {
		entry, err := r.call(r.as(readEntries), getRPC)
		if err == nil && entry.GetSeq() != 42 {
			err = errors.New("wrong answer")
		}
		answers <- err
	}()
	<-entered
	r.stop()
	require.Eventually(t, func() bool {
		last, err := watch.Recv()
		return err != nil || last.GetStatus() == grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}, wait, every, "the watch ends")
	late := r.dial("gateway")
	require.Eventually(t, func() bool {
		_, err := invoke(r.as(readEntries), late, openRPC, 1)
		return status.Code(err) == codes.Unavailable
	}, wait, every, "no new RPC is taken")
	close(release)
	require.NoError(t, <-answers)
	begin := time.Now()
	r.end()
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestDrainTimeCutsWhatDoesNotEnd(t *testing.T) {
	r := newRig(t)
	r.cfg.Limits.DrainSeconds = 1
	r.start()
	cut, release := make(chan struct{}), make(chan struct{})
	r.probe.stream = func(ss grpc.ServerStream) error {
		_ = ss.SendMsg(&auditv1.Entry{})
		<-ss.Context().Done()
		close(cut)
		<-release
		return ss.Context().Err()
	}
	ss := r.open(r.as(readEntries), streamRPC)
	require.NoError(t, ss.RecvMsg(&auditv1.Entry{}))
	begin := time.Now()
	r.stop()
	<-cut
	require.Less(t, time.Since(begin), 5*time.Second, "cut by the drain time, not by the deadline of the RPC")
	select {
	case err := <-r.stopped:
		require.Fail(t, "Serve returned while a handler ran, which may still use the database", "%v", err)
	case <-time.After(300 * time.Millisecond):
	}
	close(release)
	r.end()
	require.Len(t, r.sink.take(), 1)
}

func TestReadinessNamesTheMissingDependency(t *testing.T) {
	r := newRig(t)
	var down atomic.Bool
	down.Store(true)
	r.opts.Ready = map[string]func(context.Context) error{
		"database": func(context.Context) error { return nil },
		"transit": func(context.Context) error {
			if down.Load() {
				return errors.New("no token")
			}
			return nil
		},
	}
	r.start()
	client := grpc_health_v1.NewHealthClient(r.dial("audit")) // any service may ask
	is := func(service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			resp, err := client.Check(r.context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			return err == nil && resp.GetStatus() == want
		}
	}
	const serving, not = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING
	require.Eventually(t, is("database", serving), wait, every)
	require.Eventually(t, is("caller_keys", serving), wait, every)
	require.True(t, is("transit", not)())
	require.True(t, is("", not)())
	require.Contains(t, r.log.String(), `"dependency":"transit","error":"no token"`)
	down.Store(false)
	require.Eventually(t, is("", serving), wait, every)
	require.True(t, is("transit", serving)())
	require.Contains(t, r.log.String(), "a dependency is back")
	require.Empty(t, r.sink.take(), "health checks are not accesses")
}

func BenchmarkUnary(b *testing.B) {
	r := newRig(b)
	r.probe.unary = func(ctx context.Context, req *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		commit(ctx)
		return &auditv1.Entry{Seq: req.GetSeq()}, nil
	}
	r.start()
	ctx := r.as(readEntries)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.call(ctx, getPHIRPC); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
