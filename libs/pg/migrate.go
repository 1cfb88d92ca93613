package pg

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/carekeep/carekeep/libs/mtls"
)

// Set is a numbered series of SQL migrations, `00001_name.sql` at the root of
// FS. Name is lower case and never changes: the versions done stand in the
// table goose_{Name}.
type Set struct {
	Name string
	FS   fs.FS
}

// Migrate applies what is new in the sets, in their order. It connects as the
// role that owns the database, so Config.User is {service}_owner and the
// certificate is the migration's own. Replicas that start together take turns.
func Migrate(ctx context.Context, c Config, tls *mtls.Source, sets ...Set) error {
	cc, err := c.connect(tls)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cc)
	defer func() { _ = db.Close() }()
	for _, set := range sets {
		// The session lock is one advisory lock per database for all sets.
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return fmt.Errorf("migrate %s: %w", set.Name, err)
		}
		provider, err := goose.NewProvider(goose.DialectPostgres, db, set.FS,
			goose.WithTableName("goose_"+set.Name),
			goose.WithSessionLocker(locker),
			goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return fmt.Errorf("migrate %s: %w", set.Name, err)
		}
		results, err := provider.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate %s of database %s: %w", set.Name, c.Database, err)
		}
		for _, r := range results {
			slog.InfoContext(ctx, "migration applied", "database", c.Database, "set", set.Name, "version", r.Source.Version, "took", r.Duration)
		}
	}
	return nil
}
