package app_test

import (
	"testing"

	"github.com/carekeep/carekeep/libs/devkit/postgres/grants"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
)

func TestDX07_TheDatabaseGivesNobodyMoreThanListed(t *testing.T) {
	grants.Golden(t, "backup", []pg.Set{outbox.Migrations()})
}
