package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/deploy/local/generator"
)

// chartTables are the tables that a lookup goes through.
var chartTables = []string{"patients", "data_keys", "care_team", "documents", "resource_index"}

// beside shows that a lookup costs the same however many rows of other practices
// lie in the same tables. The rows are copies of the curve's practice under new practice ids, made in the
// database: they have the sizes, the keys and the places in the indexes that real ones would have, and
// are never opened.
func (b *bench) beside(ctx context.Context) error {
	if b.opts.Beside == 0 {
		return nil
	}
	patients := max(1, b.opts.Curve[len(b.opts.Curve)-1]/generator.PerPatient)
	before, err := closedLoop(ctx, b.opts.Clients, b.opts.Length, b.lookup(patients))
	if err != nil {
		return fmt.Errorf("beside: %w", err)
	}
	copies := max(1, b.opts.Beside/(patients*generator.PerPatient))
	if err := b.copyPractice(ctx, copies); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	after, err := closedLoop(ctx, b.opts.Clients, b.opts.Length, b.lookup(patients))
	if err != nil {
		return fmt.Errorf("beside: %w", err)
	}
	fmt.Fprintln(os.Stdout)
	header(os.Stdout)
	row{"read with that many resources of other practices beside", "/s", "without them", after.perSecond, before.perSecond, 0,
		fmt.Sprintf("%d in %d practices; %s against %s", copies*patients*generator.PerPatient, copies, latency(after), latency(before))}.write(os.Stdout)
	return nil
}

func (b *bench) copyPractice(ctx context.Context, copies int) error {
	admin, err := b.stack.AdminDB(ctx, "records")
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // each statement has committed
	statements := make([]string, len(chartTables))
	for i, table := range chartTables {
		var columns []string
		err := admin.QueryRow(ctx, `SELECT array_agg(quote_ident(column_name) ORDER BY ordinal_position) FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name = $1 AND column_name <> 'practice_id' AND is_generated = 'NEVER'`, table).Scan(&columns)
		if err != nil {
			return fmt.Errorf("columns of %s: %w", table, err)
		}
		list, name := strings.Join(columns, ", "), pgx.Identifier{table}.Sanitize()
		statements[i] = fmt.Sprintf("INSERT INTO %s (practice_id, %s) SELECT $1::uuid, %s FROM %s WHERE practice_id = $2", name, list, list, name)
	}
	for range copies {
		practice := uuid.Must(uuid.NewRandom())
		for i, sql := range statements {
			if _, err := admin.Exec(ctx, sql, practice, b.doctor.Practice); err != nil {
				return fmt.Errorf("copy %s: %w", chartTables[i], err)
			}
		}
	}
	return nil
}
