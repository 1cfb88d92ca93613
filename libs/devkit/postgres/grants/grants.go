// Package grants compares what a service's database gives to whom with a list that
// was reviewed (claim DX-07). Only tests import it.
package grants

import (
	"context"
	_ "embed"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/golden"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/pg"
)

// grants.sql reads the catalogues: one line for each thing and for each right to it.
//
//go:embed grants.sql
var catalogues string

// Golden migrates the service's own database, as deploy/postgres/roles.sql makes it,
// and compares who may do what with testdata/grants.golden. prepare are statements
// for what only comes into being later; they run as the owner.
func Golden(t *testing.T, service string, sets []pg.Set, prepare ...string) {
	t.Helper()
	server := postgres.ForTest(t)
	server.Migrate(t, service, service, sets...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	owner, err := server.Conn(ctx, service+"-migrate", service+"_owner", service)
	require.NoError(t, err)
	defer func() { _ = owner.Close(ctx) }()
	for _, statement := range prepare {
		_, err := owner.Exec(ctx, statement)
		require.NoError(t, err, statement)
	}
	lines := read(ctx, t, server, service)
	for _, line := range lines {
		require.NotContains(t, line, " to PUBLIC", "everybody who can connect holds it")
		require.NotContains(t, line, "owner "+service+"_app", "the service owns nothing")
	}
	require.Contains(t, lines, "role "+service+"_app: login", "the service's role has no attribute but this")
	require.Contains(t, lines, "role "+service+"_owner: login", "nor has the one of its migrations")
	golden.Lines(t, "grants", lines)
}

func read(ctx context.Context, t *testing.T, server *postgres.Server, database string) []string {
	t.Helper()
	conn, err := server.AdminConn(ctx, database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, catalogues)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return lines
}
