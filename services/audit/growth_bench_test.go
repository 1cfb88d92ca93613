package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/ledger"
	auditevent "github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// BenchmarkGrowth shows what an append and a proof cost as the log grows: for each size it fills the log by direct
// insertion, appends groups through the service, COPYs the very rows elsewhere in turns, asks for inclusion
// proofs, over gRPC, where each waits until its own event is in the log (prove), and the proof alone (tiles), and
// verifies the rows. AUDIT_GROWTH is the largest size, 1,000,000 by default.
//
//	go test ./services/audit -run xxx -bench Growth -benchtime 1x -timeout 2h
func BenchmarkGrowth(b *testing.B) {
	most := int64(1_000_000)
	if text := os.Getenv("AUDIT_GROWTH"); text != "" {
		var err error
		most, err = strconv.ParseInt(text, 10, 64)
		require.NoError(b, err)
	}
	db, err := postgres.Start(context.Background(), postgres.Options{CA: postgres.ForTest(b).CA()})
	require.NoError(b, err)
	b.Cleanup(db.Stop)
	s := newSuiteOn(b, db)
	copied := plainCopy(b, s)
	for size := int64(10_000); size <= most; size *= 10 {
		s.fill(size)
		r := s.writer()
		b.Run(fmt.Sprintf("append/%d", size), func(b *testing.B) {
			for b.Loop() {
				var appended, byCopy time.Duration
				const groups = 6
				for range groups {
					events, from := made(b, groupSize), s.size()
					appended += appendAll(b, r, events)
					byCopy += copied(from, from+groupSize)
				}
				b.ReportMetric(float64(appended.Microseconds())/(groups*groupSize), "µs/entry")
				b.ReportMetric(float64(byCopy.Microseconds())/(groups*groupSize), "µs/copied")
				b.ReportMetric(byCopy.Seconds()/appended.Seconds(), "ratio-copy")
			}
		})
		b.Run(fmt.Sprintf("prove/%d", size), func(b *testing.B) {
			client := s.client(r)
			for b.Loop() {
				took := make([]time.Duration, 300)
				for i := range took {
					seq := rand.Int64N(size)
					start := time.Now()
					proof, err := client.GetInclusionProof(as(b, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: seq, TreeSize: size})
					took[i] = time.Since(start)
					require.NoError(b, err)
					require.NotEmpty(b, proof.GetHashes())
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			}
		})
		b.Run(fmt.Sprintf("tiles/%d", size), func(b *testing.B) { s.benchProve(b, size) })
		b.Run(fmt.Sprintf("verify/%d", size), func(b *testing.B) { // as carekeep audit verify --database
			for b.Loop() {
				start := time.Now()
				report := s.verifyRaw()
				require.NoError(b, report.Err())
				b.ReportMetric(float64(report.Entries)/time.Since(start).Seconds(), "entries/s")
			}
		})
		r.stop()
	}
}

// benchProve measures the proof alone, from the tiles in the database.
func (s *suite) benchProve(b *testing.B, size int64) {
	entries := store.New(s.pool())
	signed, err := entries.Checkpoint(b.Context(), 0)
	require.NoError(b, err)
	head, err := ledger.OpenCheckpoint(signed, s.trust().Keys)
	require.NoError(b, err)
	for b.Loop() {
		took := make([]time.Duration, 2000)
		for i := range took {
			start := time.Now()
			_, err := tlog.ProveRecord(head.Size, rand.Int64N(size), tlog.TileHashReader(head.Tree(), entries.Tiles(b.Context())))
			took[i] = time.Since(start)
			require.NoError(b, err)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	}
}

// plainCopy is a baseline: COPY of rows that the log holds, into a table with the same columns and indexes, without
// row-level security, tree or signature. Reading them is not in the time.
func plainCopy(b *testing.B, s *suite) func(from, to int64) time.Duration {
	conn := s.as("")
	_, err := conn.Exec(context.Background(), "CREATE TABLE copied (LIKE entries INCLUDING ALL)")
	require.NoError(b, err)
	return func(from, to int64) time.Duration {
		rows, err := conn.Query(context.Background(), "SELECT * FROM entries WHERE seq >= $1 AND seq < $2 ORDER BY seq", from, to)
		require.NoError(b, err)
		var columns []string
		for _, f := range rows.FieldDescriptions() {
			columns = append(columns, f.Name)
		}
		values, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
		require.NoError(b, err)
		start := time.Now()
		_, err = conn.CopyFrom(context.Background(), pgx.Identifier{"copied"}, columns, pgx.CopyFromRows(values))
		require.NoError(b, err)
		return time.Since(start)
	}
}

// fill makes the log this large by direct insertion under one checkpoint, as no service does.
func (s *suite) fill(size int64) {
	s.t.Helper()
	r := s.writer()
	signer, err := r.keys.Signer(context.Background())
	require.NoError(s.t, err)
	ctx := context.Background()
	admin := s.as("")
	head, err := store.ReadHead(ctx, admin)
	require.NoError(s.t, err)
	tree, err := ledger.LoadFrontier(head.Size, func(level int, from, to int64) ([]tlog.Hash, error) {
		return store.ReadHashes(ctx, admin, level, from, to)
	})
	require.NoError(s.t, err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	require.NoError(s.t, store.EnsurePartition(ctx, admin, auditevent.Month(made(s.t, 1)[0].Index.EventID)))
	for tree.Size() < size {
		events := made(s.t, int(min(20_000, size-tree.Size())))
		salts := ledger.NewSalts(len(events))
		entries, tiles := make([][]any, len(events)), [][]any{}
		for i, e := range events {
			leaf, err := ledger.LeafHash(salts[i], e.Raw)
			require.NoError(s.t, err)
			x := e.Index
			entries[i] = []any{tree.Size(), x.EventID, x.Practice, x.User, x.Patient, x.Action, x.Outcome, x.EventTime, now, salts[i], e.Raw, leaf[:]}
			done, err := tree.Append(leaf)
			require.NoError(s.t, err)
			for _, t := range done {
				tiles = append(tiles, []any{int16(t.Level), t.Index, t.Root[:], t.Hashes})
			}
		}
		_, err = admin.CopyFrom(ctx, pgx.Identifier{"entries"}, []string{"seq", "event_id", "practice_id", "user_id", "patient_id", "action", "outcome",
			"event_time", "append_time", "salt", "event", "leaf_hash"}, pgx.CopyFromRows(entries))
		require.NoError(s.t, err)
		_, err = admin.CopyFrom(ctx, pgx.Identifier{"tiles"}, []string{"level", "idx", "root", "hashes"}, pgx.CopyFromRows(tiles))
		require.NoError(s.t, err)
	}
	root, err := tree.Root()
	require.NoError(s.t, err)
	c := ledger.Checkpoint{Log: logName, Size: size, Root: root, Time: now}
	signed, err := c.Sign(signer)
	require.NoError(s.t, err)
	r.stop()
	_, err = admin.Exec(ctx, "INSERT INTO checkpoints (size, from_size, root, note, append_time) VALUES ($1, nullif($2, 0), $3, $4, $5)", size, head.Size, root[:], signed, now)
	require.NoError(s.t, err)
	_, err = admin.Exec(ctx, "ANALYZE entries; ANALYZE tiles", pgx.QueryExecModeSimpleProtocol)
	require.NoError(s.t, err)
}
