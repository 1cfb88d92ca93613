// Package migrations holds the numbered SQL migrations of the audit database. They
// run under the identity that owns the tables, never under the service's own.
package migrations

import (
	"embed"

	"github.com/carekeep/carekeep/libs/pg"
)

//go:embed *.sql
var files embed.FS

// Set is the audit database's schema.
var Set = pg.Set{Name: "audit", FS: files}
