// Package migrations holds the schema of the records database, in numbered
// steps. They run as the role that owns the database, never as the service itself.
package migrations

import (
	"embed"

	"github.com/carekeep/carekeep/libs/pg"
)

//go:embed *.sql
var files embed.FS

// Set is the schema, for pg.Migrate.
var Set = pg.Set{Name: "records", FS: files}
