package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
)

// Source is the identity with the given certificate name: a service,
// {service}-migrate, or admin.
func (s *Server) Source(name string) (*mtls.Source, error) {
	identities.Lock()
	defer identities.Unlock()
	if found := s.sources[name]; found != nil {
		return found, nil
	}
	files, err := s.opts.CA.Issue(name)
	if err != nil {
		return nil, err
	}
	source, err := mtls.Load(files, slog.New(slog.DiscardHandler))
	if err == nil {
		s.sources[name] = source
	}
	return source, err
}

var identities sync.Mutex

// Conn connects to database with the certificate of that name, as role.
func (s *Server) Conn(ctx context.Context, name, role, database string) (*pgx.Conn, error) {
	source, err := s.Source(name)
	if err != nil {
		return nil, err
	}
	return pg.Connect(ctx, s.Config(database, role), source)
}

// AdminConn connects to database as the superuser.
func (s *Server) AdminConn(ctx context.Context, database string) (*pgx.Conn, error) {
	return s.Conn(ctx, "admin", Admin, database)
}

var shared struct {
	sync.Mutex
	server *Server
}

// ForTest gives the throwaway server of this test binary, started by the first
// test that asks. Tests share it; Database gives a test a database of its own.
// Call Main from TestMain to stop it in the end.
func ForTest(tb testing.TB) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, err := Start(context.Background(), Options{NoSync: true})
		if err != nil {
			tb.Fatal(err)
		}
		shared.server = server
	}
	return shared.server
}

// Main runs the tests of a binary and then stops the shared server:
//
//	func TestMain(m *testing.M) { postgres.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	StopShared()
	os.Exit(code)
}

// StopShared stops the server behind ForTest, for a TestMain that does more.
func StopShared() {
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.Stop()
		shared.server = nil
	}
}

// Database makes a database like the service's own, for one test: same owner,
// same grants. It returns its name; the test's end drops it.
func (s *Server) Database(tb testing.TB, service string) string {
	tb.Helper()
	name := service + "_" + strings.ToLower(rand.Text()[:10])
	owner, users := service+"_owner", service+"_app"
	if service == "audit" {
		users += ", audit_verify"
	}
	s.admin(tb, "postgres",
		fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0", name, owner),
		fmt.Sprintf("REVOKE ALL ON DATABASE %s FROM PUBLIC", name),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s, %s", name, owner, users))
	s.admin(tb, name,
		fmt.Sprintf("ALTER SCHEMA public OWNER TO %s", owner),
		"REVOKE ALL ON SCHEMA public FROM PUBLIC",
		fmt.Sprintf("GRANT USAGE ON SCHEMA public TO %s", users))
	tb.Cleanup(func() {
		if s.Pid() != 0 {
			s.admin(tb, "postgres", fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name))
		}
	})
	return name
}

// Migrate applies migrations to a database as the service's owner.
func (s *Server) Migrate(tb testing.TB, service, database string, sets ...pg.Set) {
	tb.Helper()
	source, err := s.Source(service + "-migrate")
	if err == nil {
		err = pg.Migrate(context.Background(), s.Config(database, service+"_owner"), source, sets...)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Pool opens a pool as the service's own role; the test's end closes it.
func (s *Server) Pool(tb testing.TB, service, database string) *pgxpool.Pool {
	tb.Helper()
	source, err := s.Source(service)
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := pg.Open(context.Background(), s.Config(database, service+"_app"), source)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

func (s *Server) admin(tb testing.TB, database string, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := s.AdminConn(ctx, database)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			tb.Fatalf("%s: %v", statement, err)
		}
	}
}
