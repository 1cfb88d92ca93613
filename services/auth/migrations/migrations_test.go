package migrations_test

import (
	"testing"

	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/postgres/grants"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/auth/migrations"
)

func TestMain(m *testing.M) { postgres.Main(m) }

func TestDX07_TheDatabaseGivesNobodyMoreThanListed(t *testing.T) {
	grants.Golden(t, "auth", []pg.Set{{Name: "auth", FS: migrations.FS}, outbox.Migrations()})
}
