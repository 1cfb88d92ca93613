// Package migrations embeds the schema of the auth database. It is applied by
// `auth migrate`; a service never changes its own schema.
package migrations

import "embed"

// FS holds the numbered migrations.
//
//go:embed *.sql
var FS embed.FS
