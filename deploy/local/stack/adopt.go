package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// startPostgres starts the database and makes sure that it is this folder's own.
func (s *Stack) startPostgres(ctx context.Context) error {
	if err := s.part("postgres").begin(ctx); err != nil {
		return err
	}
	return s.adopt(ctx)
}

// adopt compares the cluster with the one that this folder has known. The data
// may lie outside the folder, where root's folders are closed to the database's
// user; then removing the folder leaves it behind, sealed under keys that are gone.
func (s *Stack) adopt(ctx context.Context) error {
	conn, err := s.AdminDB(ctx, "auth")
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // only read from
	var cluster string
	var used bool
	if err := conn.QueryRow(ctx, `SELECT system_identifier::text, current_setting('data_directory'),
		EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public') FROM pg_control_system()`).Scan(&cluster, &s.PostgresData, &used); err != nil {
		return fmt.Errorf("postgres: identify the cluster: %w", err)
	}
	file := s.path("postgres", "cluster")
	known, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !used {
		return os.WriteFile(file, []byte(cluster+"\n"), 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("postgres: %w", err)
	}
	if strings.TrimSpace(string(known)) != cluster {
		return fmt.Errorf("the database in %s belongs to a data folder that is gone, and its keys with it: remove %s too", s.PostgresData, s.PostgresData)
	}
	return nil
}
