// Package pg connects a service to its own Postgres database: TLS 1.3 with
// client certificates only, migrations, and Access, which combines concurrent
// accesses into one commit. It holds no SQL of any service.
package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/carekeep/carekeep/libs/mtls"
)

// Config says which database a service uses. There is no password and no TLS
// mode to choose: the server proves Host, we show our certificate.
type Config struct {
	Host     string `yaml:"host" config:"required"`
	Port     uint16 `yaml:"port"` // default 5432
	Database string `yaml:"database" config:"required"`
	User     string `yaml:"user" config:"required"`
	// MaxConnections bounds the pool; default 16.
	MaxConnections int32 `yaml:"max_connections"`
}

const (
	defaultPort        = 5432
	defaultConnections = 16
	connectTimeout     = 5 * time.Second
	// idleInTransaction frees the locks of a client that hangs or is cut off.
	idleInTransaction = time.Minute
)

// Validate implements config.Validator.
func (c Config) Validate() error {
	if c.MaxConnections < 0 {
		return errors.New("max_connections must be 1 or more, or left out for 16")
	}
	return nil
}

// Address is host:port.
func (c Config) Address() string {
	port := c.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(int(port)))
}

// Open makes a connection pool. It does not wait for the server: readiness
// reports a database that is down, and Access answers UNAVAILABLE meanwhile.
func Open(ctx context.Context, c Config, tls *mtls.Source) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", c.Database, err)
	}
	if pc.ConnConfig, err = c.connect(tls); err != nil {
		return nil, err
	}
	pc.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = strconv.FormatInt(idleInTransaction.Milliseconds(), 10)
	pc.ConnConfig.Tracer = newTracer()
	pc.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		register(conn)
		return nil
	}
	pc.MaxConns = c.MaxConnections
	if pc.MaxConns == 0 {
		pc.MaxConns = defaultConnections
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", c.Database, err)
	}
	return pool, nil
}

// Connect opens a single connection, for jobs that hold one of their own.
func Connect(ctx context.Context, c Config, tls *mtls.Source) (*pgx.Conn, error) {
	cc, err := c.connect(tls)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, fmt.Errorf("database %s as %s: %w", c.Database, c.User, err)
	}
	register(conn)
	return conn, nil
}

// register teaches a connection uuid.UUID. Without it pgx takes the way through
// text and driver.Valuer, which was a tenth of what a read costs records.
func register(conn *pgx.Conn) { pgxuuid.Register(conn.TypeMap()) }

// connect builds the connection settings from Config alone. What libpq would
// take from the environment (PGHOST, PGSSLMODE, PGOPTIONS, …) is overwritten.
func (c Config) connect(tls *mtls.Source) (*pgx.ConnConfig, error) {
	cc, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", c.Database, err)
	}
	cc.Host, cc.Port, cc.Database, cc.User, cc.Password = c.Host, c.Port, c.Database, c.User, ""
	if cc.Port == 0 {
		cc.Port = defaultPort
	}
	cc.TLSConfig, cc.Fallbacks = tls.PlainClientTLS(c.Host), nil
	cc.ConnectTimeout = connectTimeout
	cc.RuntimeParams = map[string]string{"application_name": "carekeep-" + c.User, "timezone": "UTC"}
	return cc, nil
}
