package migrations_test

import (
	"testing"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/postgres/grants"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/audit/migrations"
)

func TestMain(m *testing.M) { postgres.Main(m) }

func TestDX07_TheDatabaseGivesNobodyMoreThanListed(t *testing.T) {
	// A partition that the appender makes for a month.
	grants.Golden(t, "audit", []pg.Set{migrations.Set}, "SELECT ensure_partition('2026-01-01')")
}
