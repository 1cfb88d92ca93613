// Package replication speaks the part of PostgreSQL's replication protocol that
// a base backup takes. It stores nothing.
package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/services/backup/internal/manifest"
)

// Config says where the primary is and which role may replicate.
type Config struct {
	Host string `yaml:"host" config:"required"`
	Port uint16 `yaml:"port"` // default 5432
	User string `yaml:"user"` // default backup_repl
}

// Conn is one replication connection.
type Conn struct{ pg *pgconn.PgConn }

// System says which cluster is at the other end.
type System struct {
	ID       string // unique for each initdb
	Timeline uint32
	Major    int // PostgreSQL's major version
}

// Connect opens a replication connection, by TLS 1.3 with our certificate.
func Connect(ctx context.Context, c Config, source *mtls.Source) (*Conn, error) {
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("replication: %w", err)
	}
	// What libpq takes from the environment is overwritten.
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = c.Host, c.Port, c.User, "", ""
	if cfg.Port == 0 {
		cfg.Port = 5432
	}
	if cfg.User == "" {
		cfg.User = "backup_repl"
	}
	cfg.TLSConfig, cfg.Fallbacks = source.PlainClientTLS(c.Host), nil
	cfg.ConnectTimeout = 5 * time.Second
	cfg.RuntimeParams = map[string]string{"replication": "true", "application_name": "carekeep-backup"}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("replication: %w", err)
	}
	return &Conn{pg}, nil
}

// Close ends the connection; the server drops what it held for it.
func (c *Conn) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx) // after a cancelled backup the server is cut off, which is what is wanted
}

// Identify asks which cluster this is. Ask at every connect: behind an address
// may stand another cluster than yesterday.
func (c *Conn) Identify(ctx context.Context) (System, error) {
	row, err := c.row(ctx, "IDENTIFY_SYSTEM", 4)
	if err != nil {
		return System{}, err
	}
	timeline, err := strconv.ParseUint(row[1], 10, 32)
	if err != nil || row[0] == "" || strings.Trim(row[0], "0123456789") != "" {
		return System{}, errors.New("replication: IDENTIFY_SYSTEM gave no system id and timeline")
	}
	major, _, _ := strings.Cut(c.pg.ParameterStatus("server_version"), ".")
	number, err := strconv.Atoi(major)
	if err != nil {
		return System{}, fmt.Errorf("replication: server version %q is not known", major)
	}
	return System{row[0], uint32(timeline), number}, nil
}

// Hold keeps the log from here on until the connection ends, so that a long
// backup does not lose the log it needs. The slot is temporary: it can never fill a
// disk after we are gone.
func (c *Conn) Hold(ctx context.Context, name string) error {
	_, err := c.row(ctx, `CREATE_REPLICATION_SLOT "`+name+`" TEMPORARY PHYSICAL (RESERVE_WAL)`, 4)
	return err
}

func (c *Conn) row(ctx context.Context, command string, columns int) ([]string, error) {
	results, err := c.pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("replication: %s: %w", strings.Fields(command)[0], err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < columns {
		return nil, fmt.Errorf("replication: %s: the answer is not one row", strings.Fields(command)[0])
	}
	row := make([]string, len(results[0].Rows[0]))
	for i, value := range results[0].Rows[0] {
		row[i] = string(value)
	}
	return row, nil
}

// Position is a place in the log, on a timeline.
type Position struct {
	LSN      manifest.LSN
	Timeline uint32
}

func position(row [][]byte) (Position, error) {
	if len(row) != 2 {
		return Position{}, errors.New("replication: a log position has two columns")
	}
	lsn, err := manifest.ParseLSN(string(row[0]))
	if err != nil {
		return Position{}, fmt.Errorf("replication: %w", err)
	}
	timeline, err := strconv.ParseUint(string(row[1]), 10, 32)
	if err != nil {
		return Position{}, fmt.Errorf("replication: timeline: %w", err)
	}
	return Position{lsn, uint32(timeline)}, nil
}

// Primary is the cluster that is backed up.
type Primary struct {
	Config Config
	Source *mtls.Source
}

// Connect opens a replication connection to it.
func (p Primary) Connect(ctx context.Context) (*Conn, error) {
	return Connect(ctx, p.Config, p.Source)
}
