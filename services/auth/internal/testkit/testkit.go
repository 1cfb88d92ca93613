// Package testkit runs auth for tests as production does: real Postgres, transit
// and broker, gRPC over mTLS, with a clock that the test moves. Only tests import it.
package testkit

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	libtransit "github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/migrations"
)

var shared struct {
	sync.Mutex
	transit *transit.Server
	broker  *broker.Server
	durable *postgres.Server
}

// Main runs the tests of a binary and then stops the servers that they shared.
func Main(m *testing.M) {
	// The relays of these tests have no audit store to talk to, and say so at length.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	code := m.Run()
	shared.Lock()
	if shared.broker != nil {
		shared.broker.Stop()
	}
	if shared.transit != nil {
		shared.transit.Stop()
	}
	if shared.durable != nil {
		shared.durable.Stop()
	}
	shared.Unlock()
	postgres.StopShared()
	os.Exit(code)
}

func servers(t testing.TB) (*postgres.Server, *transit.Server, *broker.Server) {
	t.Helper()
	database := postgres.ForTest(t)
	shared.Lock()
	defer shared.Unlock()
	var err error
	if shared.transit == nil {
		shared.transit, err = transit.Start(context.Background(), transit.Options{CA: database.CA()})
		require.NoError(t, err)
	}
	if shared.broker == nil {
		shared.broker, err = broker.Start(context.Background(), broker.Options{CA: database.CA()})
		require.NoError(t, err)
		makeStream(t, database, shared.broker)
	}
	if _, bench := t.(*testing.B); bench {
		// What a commit costs is part of what is measured: this server waits for the disk.
		if shared.durable == nil {
			shared.durable, err = postgres.Start(context.Background(), postgres.Options{CA: database.CA()})
			require.NoError(t, err)
		}
		database = shared.durable
	}
	return database, shared.transit, shared.broker
}

// makeStream does what the audit service does in production. Nobody takes the
// events out, so each stays in its outbox, where World.Events reads it.
func makeStream(t testing.TB, database *postgres.Server, nats *broker.Server) {
	t.Helper()
	source, err := database.Source("audit")
	require.NoError(t, err)
	conn, err := outbox.Connect(nats.Broker(), source, "audit", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: outbox.DefaultStream, Subjects: []string{"audit.events.>"}})
	require.NoError(t, err)
}

// Clock is moved by the test.
type Clock struct{ nanos atomic.Int64 }

// Now is the time; pass it as app.Options.Now.
func (c *Clock) Now() time.Time { return time.Unix(0, c.nanos.Load()).UTC() }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.nanos.Add(int64(d)) }

// World is one installation of auth with a database of its own.
type World struct {
	T        testing.TB
	Clock    *Clock
	Inbox    *Inbox
	Log      *Buffer
	Settings app.Settings
	Database string
	Postgres *postgres.Server
	Callers  *callertest.Authority

	Auth *Auth // the first replica

	mu   sync.Mutex
	next int
}

// New starts an installation. Change its settings before that with mods.
func New(t testing.TB, mods ...func(*app.Settings)) *World {
	t.Helper()
	w := Prepare(t, mods...)
	w.Auth = w.Replica()
	return w
}

// Prepare makes database and settings, and starts nothing.
func Prepare(t testing.TB, mods ...func(*app.Settings)) *World {
	t.Helper()
	database, vault, nats := servers(t)
	w := &World{
		T: t, Clock: &Clock{}, Inbox: newInbox(t), Log: &Buffer{}, Postgres: database,
		Database: database.Database(t, "auth"), Callers: callertest.New(t),
	}
	w.Clock.nanos.Store(time.Now().Truncate(time.Microsecond).UnixNano())
	database.Migrate(t, "auth", w.Database, pg.Set{Name: "auth", FS: migrations.FS}, outbox.Migrations())
	identity, err := database.CA().Issue("auth")
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(w.Inbox.Address())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	w.Settings = app.Settings{
		Listen: "127.0.0.1:0", TrustDomain: database.CA().TrustDomain(), TLS: identity,
		Callers: server.Callers{Keys: w.Callers.Keys}, SigningKey: w.Callers.KeyFile,
		Database:  database.Config(w.Database, "auth_app"),
		Broker:    nats.Broker(),
		Transit:   libtransit.Config{Address: vault.Address(), Role: "auth"},
		PublicURL: "https://care.example.org",
		// Tests of the gates put them back.
		WaivedGates: []string{"training", "attestation", "baa"},
		Mail:        mail.Config{Host: host, Port: number, From: "carekeep@localhost", TLS: mail.TLSNoneLocal},
	}
	for _, mod := range mods {
		mod(&w.Settings)
	}
	require.NoError(t, w.Settings.Validate())
	return w
}

// Auth is one running replica, as the gateway and other services reach it.
type Auth struct {
	authv1.AuthServiceClient
	// App is the replica itself, for what runs in it by the clock.
	App   *app.App
	world *World
	addr  string
}

// Options are what replicas of this world run with.
func (w *World) Options() app.Options {
	return app.Options{Log: slog.New(slog.NewJSONHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: w.Clock.Now}
}

// Replica starts one more instance on the same database.
func (w *World) Replica() *Auth {
	w.T.Helper()
	instance, err := app.New(context.Background(), w.Settings, w.Options())
	require.NoError(w.T, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- instance.Run(ctx) }()
	w.T.Cleanup(func() {
		stop()
		require.NoError(w.T, <-ended)
	})
	a := &Auth{App: instance, world: w, addr: instance.Server.Addr().String()}
	a.AuthServiceClient = a.Client("gateway")
	return a
}

// Client reaches the replica as another identity of the mesh.
func (a *Auth) Client(name string) authv1.AuthServiceClient {
	return authv1.NewAuthServiceClient(a.Dial(name))
}

// Dial connects to the replica as an identity of the mesh.
func (a *Auth) Dial(name string) *grpc.ClientConn {
	t := a.world.T
	t.Helper()
	source, err := a.world.Postgres.Source(name)
	require.NoError(t, err)
	conn, err := source.Dial(a.addr, accessv1.Service_SERVICE_AUTH)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Buffer keeps what was logged.
type Buffer struct {
	mu  sync.Mutex
	raw []byte
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.raw = append(b.raw, p...)
	return len(p), nil
}

// String is everything logged so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.raw)
}

// File is a path for a test's own file.
func (w *World) File(name string) string { return filepath.Join(w.T.TempDir(), name) }
