// Package broker runs a NATS server with JetStream inside the process, for local
// stacks and tests, with the security of a production one: TLS 1.3, users by
// their certificates' SPIFFE ids, and permissions per service.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/outbox"
)

const (
	readyTimeout = 20 * time.Second
	// syncInterval is short, though nothing depends on it: the outbox keeps a
	// row until its receipt.
	syncInterval = time.Second
	host         = "127.0.0.1"
)

// Options say where a broker lives. All may be left out.
type Options struct {
	Dir  string // "" = throwaway, removed by Stop
	Port int    // 0 = any free one
	CA   *ca.CA // nil = a new one in Dir
	Log  *slog.Logger
}

// Server is one running broker.
type Server struct {
	opts Options
	dir  string
	tls  *tls.Config
	nats *server.Server
	port int
}

// Start runs a broker with its streams in Dir.
func Start(ctx context.Context, opts Options) (*Server, error) {
	s := &Server{opts: opts, dir: opts.Dir, port: opts.Port}
	if s.opts.Log == nil {
		s.opts.Log = slog.New(slog.DiscardHandler)
	}
	if s.port == 0 {
		s.port = server.RANDOM_PORT
	}
	err := s.prepare()
	if err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		s.discard()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return s, nil
}

func (s *Server) prepare() (err error) {
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "carekeep-broker-*")
	} else {
		err = os.MkdirAll(s.dir, 0o700)
	}
	if err != nil {
		return err
	}
	if s.opts.CA == nil {
		if s.opts.CA, err = ca.New(filepath.Join(s.dir, "ca"), "carekeep.test"); err != nil {
			return err
		}
	}
	files, err := s.opts.CA.Issue("nats")
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(files.Authorities)
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(raw) {
		return errors.New("the authority's file holds no certificate")
	}
	s.tls = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
	return nil
}

// Restart starts the broker again, on the same port and streams, after Shutdown.
func (s *Server) Restart(ctx context.Context) error {
	nats, err := server.NewServer(&server.Options{
		ServerName: "carekeep", Host: host, Port: s.port,
		TLSConfig: s.tls, TLSVerify: true, TLSMap: true, TLSTimeout: 5,
		Users:     Users(s.opts.CA.TrustDomain()),
		JetStream: true, StoreDir: filepath.Join(s.dir, "jetstream"), SyncInterval: syncInterval,
		NoSigs: true,
	})
	if err != nil {
		return err
	}
	nats.SetLogger(logger{s.opts.Log}, false, false)
	nats.Start()
	s.nats = nats
	ready := readyTimeout
	if end, ok := ctx.Deadline(); ok {
		ready = min(ready, time.Until(end))
	}
	if !nats.ReadyForConnections(ready) {
		s.Shutdown()
		return fmt.Errorf("it did not listen on %s:%d within %s: is the port taken?", host, s.port, ready)
	}
	s.port = nats.Addr().(*net.TCPAddr).Port
	return nil
}

// URL is where clients connect.
func (s *Server) URL() string { return "tls://" + host + ":" + strconv.Itoa(s.port) }

// Broker is the setting that services use.
func (s *Server) Broker() outbox.Broker {
	return outbox.Broker{URL: s.URL(), Stream: outbox.DefaultStream}
}

// CA is the authority behind the broker and its clients.
func (s *Server) CA() *ca.CA { return s.opts.CA }

// Shutdown stops the broker and keeps its streams, for Restart.
func (s *Server) Shutdown() {
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
}

// Stop stops the broker and removes a throwaway folder.
func (s *Server) Stop() {
	s.Shutdown()
	s.discard()
}

// Forget is Shutdown with the loss of all streams: a broker whose disk is gone.
func (s *Server) Forget() error {
	s.Shutdown()
	return os.RemoveAll(filepath.Join(s.dir, "jetstream"))
}

func (s *Server) discard() {
	if s.opts.Dir == "" && s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// ForTest starts a throwaway broker that ends with the test, under an authority
// of its own or the one given, say that of postgres.ForTest.
func ForTest(tb testing.TB, authority ...*ca.CA) *Server {
	tb.Helper()
	var opts Options
	if len(authority) > 0 {
		opts.CA = authority[0]
	}
	s, err := Start(context.Background(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// logger passes the broker's warnings on; its chatter is for debugging it, not us.
type logger struct{ log *slog.Logger }

func (l logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l logger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l logger) Debugf(string, ...any)           {}
func (l logger) Tracef(string, ...any)           {}
