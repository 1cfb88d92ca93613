package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
)

// filled is a suite whose log holds 600 entries in several groups, and nobody writes it any more.
func filled(t *testing.T) *suite {
	t.Helper()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	for range 6 {
		p.await(p.send(batchOf(100)...))
	}
	s.trust()
	r.stop()
	require.NoError(t, r.err)
	require.NoError(t, s.verify().Err())
	return s
}

// A superuser can switch the triggers off. Whatever is then changed, the verifier finds
// and names, with nothing but the export and the key.
func TestDMD08_TamperingBehindTheServiceIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	base := filled(t)
	for name, c := range map[string]struct {
		sql  []string
		kind ledger.Kind
		find string // the start of the problem that must be reported
	}{
		"one byte of an event": {
			[]string{"UPDATE entries SET event = set_byte(event, 40, get_byte(event, 40) # 1) WHERE seq = 123"}, ledger.EntryAltered, "entry 123:"},
		"a salt": {
			[]string{"UPDATE entries SET salt = set_byte(salt, 0, get_byte(salt, 0) # 1) WHERE seq = 5"}, ledger.EntryAltered, "entry 5:"},
		"a leaf hash": {
			[]string{"UPDATE entries SET leaf_hash = set_byte(leaf_hash, 9, get_byte(leaf_hash, 9) # 1) WHERE seq = 300"}, ledger.EntryAltered, "entry 300:"},
		"event and leaf exchanged for another entry's": {
			[]string{"UPDATE entries e SET (event, salt, leaf_hash, user_id, patient_id, event_time) = (SELECT o.event, o.salt, o.leaf_hash, o.user_id, o.patient_id, o.event_time FROM entries o WHERE o.seq = 17) WHERE e.seq = 18"},
			ledger.TileDiffers, "entry 18:"},
		"an entry hidden from its practice": {
			[]string{"UPDATE entries SET practice_id = '" + practiceB.String() + "' WHERE seq = 77"}, ledger.IndexAltered, "entry 77:"},
		"an entry hidden from its patient's list": {
			[]string{"UPDATE entries SET patient_id = '" + practiceB.String() + "' WHERE seq = 78"}, ledger.IndexAltered, "entry 78:"},
		"an entry hidden from its session's list": {
			[]string{"UPDATE entries SET session_id = '" + practiceB.String() + "' WHERE seq = 79"}, ledger.IndexAltered, "entry 79: INDEX_ALTERED: column session_id"},
		"an address": {
			[]string{"UPDATE entries SET address = '203.0.113.1' WHERE seq = 80"}, ledger.IndexAltered, "entry 80: INDEX_ALTERED: column address"},
		"a risk": {
			[]string{"UPDATE entries SET risk = 4 WHERE seq = 81"}, ledger.IndexAltered, "entry 81: INDEX_ALTERED: column risk"},
		"an append time": {
			[]string{"UPDATE entries SET append_time = append_time - interval '1 hour' WHERE seq = 333"}, ledger.IndexAltered, "entry 333:"},
		"an entry deleted": {
			[]string{"DELETE FROM entries WHERE seq = 200"}, ledger.EntryMissing, "entry 200:"},
		"a month deleted": {
			[]string{"DELETE FROM entries"}, ledger.Truncated, "entries 0 to"},
		"two entries swapped": {
			[]string{"UPDATE entries SET seq = 100000 WHERE seq = 10", "UPDATE entries SET seq = 10 WHERE seq = 11", "UPDATE entries SET seq = 11 WHERE seq = 100000"},
			ledger.TileDiffers, "entry 10:"},
		"the tail cut off": {
			[]string{"DELETE FROM entries WHERE seq >= 550"}, ledger.Truncated, "entries 550 to 599:"},
		"the tail cut off with its checkpoints": {
			[]string{"DELETE FROM checkpoints WHERE size > 300", "DELETE FROM entries WHERE seq >= 300", "DELETE FROM tiles WHERE idx >= 1"},
			ledger.RolledBack, "entries 300 to 599:"},
		"everything deleted": {
			[]string{"DELETE FROM checkpoints", "DELETE FROM entries", "DELETE FROM tiles"}, ledger.RolledBack, "entries 0 to 599:"},
		"an entry added": {
			[]string{"INSERT INTO entries SELECT 600, gen_random_uuid_v7(event_id), practice_id, user_id, patient_id, action, outcome, event_time, append_time, salt, event, leaf_hash FROM entries WHERE seq = 599"},
			ledger.Uncovered, "entry 600:"},
		"a checkpoint's root": {
			[]string{"UPDATE checkpoints SET note = replace(note, E'\\ntime 20', E'\\ntime 19') WHERE size = 300"}, ledger.CheckpointInvalid, "CHECKPOINT_INVALID"},
		"a tile": {
			[]string{"UPDATE tiles SET hashes = set_byte(hashes, 33, get_byte(hashes, 33) # 1) WHERE level = 0 AND idx = 1"}, ledger.TileDiffers, "entry 257:"},
		"a tile deleted": {
			[]string{"DELETE FROM tiles WHERE idx = 0"}, ledger.TileDiffers, "TILE_DIFFERS"},
	} {
		t.Run(name, func(t *testing.T) {
			s := base.copy(t)
			s.tamper(c.sql...)
			for source, report := range map[string]*ledger.Report{"export": s.verify(), "database": s.verifyRaw()} {
				require.ErrorIs(t, report.Err(), ledger.ErrNotWhole, source)
				require.True(t, slices.ContainsFunc(report.Problems, func(p ledger.Problem) bool {
					return p.Kind == c.kind && strings.HasPrefix(p.String(), c.find)
				}), "%s: want %s %q among %v", source, c.kind, c.find, report.Problems)
			}
		})
	}
}

// Nothing is appended to a log that is not the one that was signed, and the service says so.
func TestAWriterRefusesATamperedLog(t *testing.T) {
	t.Parallel()
	base := filled(t)
	for name, sql := range map[string][]string{
		"tail deleted":           {"DELETE FROM entries WHERE seq >= 590"},
		"entry added":            {"INSERT INTO entries SELECT 600, gen_random_uuid_v7(event_id), practice_id, user_id, patient_id, action, outcome, event_time, append_time, salt, event, leaf_hash FROM entries WHERE seq = 599"},
		"leaf near the edge":     {"UPDATE entries SET leaf_hash = sha256('x') WHERE seq = 599"},
		"checkpoint's signature": {"UPDATE checkpoints SET note = overlay(note placing 'AAAA' from length(note) - 20)  WHERE size = 600"},
		"rolled back":            {"DELETE FROM checkpoints WHERE size > 300", "DELETE FROM entries WHERE seq >= 300", "DELETE FROM tiles WHERE idx >= 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := base.copy(t)
			s.tamper(sql...)
			r := s.start()
			require.Eventually(t, func() bool { return strings.Contains(s.logs.String(), "tampered with") }, patience, often, "%s", s.logs)
			require.False(t, r.appender.Writing())
			require.Error(t, r.appender.Ready(context.Background()))
		})
	}
}

// An entry that was changed is not shown as if it were evidence, nor proved.
func TestAnAlteredEntryIsNotShown(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(batchOf(20)...))
	s.tamper("UPDATE entries SET event = set_byte(event, 40, get_byte(event, 40) # 1) WHERE seq = 3",
		"UPDATE entries SET leaf_hash = sha256('x') WHERE seq = 4")
	client := s.client(r)
	for _, err := range []error{
		second(client.GetEntry(as(t, practiceA, everything...), &auditv1.GetEntryRequest{Seq: 3})),
		second(client.ListEntries(as(t, practiceA, everything...), &auditv1.ListEntriesRequest{})),
		second(client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: 4})),
		second(client.GetConsistencyProof(as(t, practiceA, everything...), &auditv1.GetConsistencyProofRequest{FirstSize: 1})),
	} {
		require.Equal(t, codes.DataLoss, status.Code(err), "%v", err)
	}
	_, err := client.GetEntry(as(t, practiceA, everything...), &auditv1.GetEntryRequest{Seq: 2})
	require.NoError(t, err)
}

func second[T any](_ T, err error) error { return err }

// copy makes a suite over a copy of the database; nothing else is its own.
func (s *suite) copy(t *testing.T) *suite {
	t.Helper()
	c := &suite{t: t, postgres: s.postgres, transit: s.transit, broker: s.broker, identity: s.identity, copies: s.copies, logs: &logs{}}
	c.database = "copy_" + strings.ToLower(rand.Text()[:10])
	admin, err := s.postgres.AdminConn(context.Background(), "postgres")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", c.database))
		require.NoError(t, err)
		_ = admin.Close(context.Background())
	})
	for _, sql := range []string{
		fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'", s.database),
		fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s OWNER audit_owner", c.database, s.database),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO audit_app, audit_verify", c.database),
	} {
		_, err := admin.Exec(context.Background(), sql)
		require.NoError(t, err, sql)
	}
	// What a test needs beside the schema, so that a forged row passes its checks.
	_, err = c.as("").Exec(context.Background(), `
		CREATE FUNCTION gen_random_uuid_v7(of uuid) RETURNS uuid LANGUAGE sql AS
		$$ SELECT (left(of::text, 24) || lpad(to_hex((random() * 100000000000)::bigint), 12, '0'))::uuid $$`)
	require.NoError(t, err)
	return c
}
