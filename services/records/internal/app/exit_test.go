package app_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/transit"
)

func (l *lifeRig) export(u *user) (lines, manifest string, err error) {
	stream, err := l.client.ExportPractice(l.as(u), &recordsv1.ExportPracticeRequest{})
	require.NoError(l.t, err)
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return lines, manifest, nil
		case err != nil:
			return lines, manifest, err
		case manifest != "":
			l.t.Fatal("something follows the manifest")
		}
		lines, manifest = lines+string(m.GetChunk()), m.GetManifest()
	}
}

func (l *lifeRig) redial() {
	l.t.Helper()
	conn, err := street.gateway.Dial(l.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = conn.Close() })
	l.client = recordsv1.NewLifecycleServiceClient(conn)
}

func (l *lifeRig) open(signed string) certificate.Certificate {
	l.t.Helper()
	keys, err := l.client.GetCertificateKeys(l.as(l.first), &recordsv1.GetCertificateKeysRequest{})
	require.NoError(l.t, err)
	_, known, err := ledger.ParseKeys(keys.GetKeys())
	require.NoError(l.t, err)
	c, err := certificate.Open(signed, known)
	require.NoError(l.t, err)
	return c
}

func TestDMD33_APracticeTakesItsRecordsAlongAndItsKeyIsDestroyed(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f := l.file(doctor)
	note, err := l.house.client.UpdateNote(l.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Text: "Better.", Etag: "v1"}})
	require.NoError(t, err)
	asked(t, l.as(doctor), l.desk(), f.patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
	before := l.place(l.first, f.patient)
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: before.GetName()})
	require.NoError(t, err)
	elsewhere := l.doctor()
	elsewhere.Practice = uuid.New()
	theirs := l.file(elsewhere)

	_, _, err = l.export(l.first)
	require.Equal(t, codes.NotFound, status.Code(err), "no exit")
	_, err = l.client.RequestPracticeExit(l.as(l.first), &recordsv1.RequestPracticeExitRequest{})
	require.NoError(t, err)
	_, _, err = l.export(l.first)
	require.Equal(t, "EXIT_STATE", reason(err), "nobody has approved")
	_, err = l.client.ApprovePracticeExit(l.as(l.first), &recordsv1.ApprovePracticeExitRequest{})
	require.Equal(t, "SECOND_PERSON_REQUIRED", reason(err))
	_, err = l.client.ApprovePracticeExit(l.as(l.next), &recordsv1.ApprovePracticeExitRequest{})
	require.NoError(t, err)
	destroy := func(u *user, manifest string) (*recordsv1.PracticeExit, error) {
		sum := sha256.Sum256([]byte(manifest))
		return l.client.DestroyPractice(l.as(u), &recordsv1.DestroyPracticeRequest{ManifestDigest: hex.EncodeToString(sum[:])})
	}
	_, err = destroy(l.next, "")
	require.Equal(t, "EXIT_STATE", reason(err), "nothing is exported")

	lines, manifest, err := l.export(l.first)
	require.NoError(t, err)
	c := l.open(manifest)
	sum := sha256.Sum256([]byte(lines))
	require.Equal(t, hex.EncodeToString(sum[:]), c.Digest)
	require.Equal(t, map[string]int64{"versions": 5, "care_team": 1, "rights": 1, "legal_holds": 1}, c.Rows)
	require.Equal(t, 8, strings.Count(lines, "\n"))
	require.Contains(t, lines, "Everything about my knee")
	require.Contains(t, lines, "docket 24-1180, Nightingale")
	require.NotContains(t, lines, theirs.patientID)

	// What is stored after the export would be lost.
	_, err = l.house.client.UpdateNote(l.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Text: "Worse.", Etag: note.GetEtag()}})
	require.NoError(t, err)
	_, err = destroy(l.next, manifest)
	require.Equal(t, "EXPORT_STALE", reason(err))
	_, manifest, err = l.export(l.first)
	require.NoError(t, err)
	// Nor is a version in it that a slower transaction stored meanwhile, with a time from before.
	l.admin("INSERT INTO rights_rows SELECT practice_id, type, gen_random_uuid(), patient_id, version, key_id, created_at, now() - interval '1 hour', due_on, due_zone, digest, sealed FROM rights_rows")
	_, err = destroy(l.next, manifest)
	require.Equal(t, "EXPORT_STALE", reason(err))
	l.admin("DELETE FROM rights_rows WHERE updated_at < now() - interval '30 minutes'")
	_, err = destroy(l.next, "another file")
	require.Equal(t, "MANIFEST_DIFFERS", reason(err))
	_, err = destroy(l.first, manifest)
	require.Equal(t, "SECOND_PERSON_REQUIRED", reason(err))
	hold := l.place(l.first, f.patient)
	_, err = destroy(l.next, manifest)
	require.Equal(t, "LEGAL_HOLD", reason(err))
	_, err = l.client.ReleaseLegalHold(l.as(l.next), &recordsv1.ReleaseLegalHoldRequest{Name: hold.GetName()})
	require.NoError(t, err)

	wrapped := l.sql("SELECT wrapped FROM data_keys WHERE practice_id = $1 UNION SELECT wrapped FROM practice_keys WHERE practice_id = $1", l.practice)
	l.interrupt("care_team", func() error { _, err := destroy(l.next, manifest); return err })
	require.NotEmpty(t, l.sql("SELECT FROM documents WHERE practice_id = $1", l.practice), "the rows go at once, or not at all")
	l.restart()
	l.redial()
	_, err = l.house.client.GetNote(l.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.Error(t, err, "its key is destroyed already")
	_, err = l.client.CancelPracticeExit(l.as(l.first), &recordsv1.CancelPracticeExitRequest{})
	require.Error(t, err, "there is no way back")
	gone, err := destroy(l.next, manifest)
	require.NoError(t, err)
	c = l.open(gone.GetCertificate())
	require.Equal(t, certificate.PracticeExit, c.Kind)
	require.Equal(t, envelope.KeyName(l.practice), c.VaultKey)
	again, err := destroy(l.next, manifest)
	require.NoError(t, err)
	require.Equal(t, gone.GetCertificate(), again.GetCertificate())

	vault := l.vault()
	for _, row := range wrapped {
		_, err := vault.Decrypt(context.Background(), envelope.KeyName(l.practice), []string{row[0].(string)})
		require.Error(t, err, "a wrapped key in a backup opens")
	}
	_, err = l.house.client.GetNote(l.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.Equal(t, "PRACTICE_CLOSED", reason(err))
	_, err = l.house.client.CreatePatient(l.as(doctor), &recordsv1.CreatePatientRequest{Patient: somebody()})
	require.Equal(t, "PRACTICE_CLOSED", reason(err))
	for table := range patientTables {
		if table != "erasures" && table != "practice_exits" && !strings.Contains(table, "outbox") && table != "goose_records" {
			require.Empty(t, l.sql("SELECT FROM "+table+" WHERE practice_id = $1", l.practice), table)
		}
	}
	l.unharmed(elsewhere, theirs)
}

func (l *lifeRig) vault() *transit.Client {
	l.t.Helper()
	source, err := postgres.ForTest(l.t).CA().Source("records")
	require.NoError(l.t, err)
	vault, err := transit.New(transit.Config{Address: street.vault.Address(), Role: "records"}, source)
	require.NoError(l.t, err)
	l.t.Cleanup(vault.Close)
	return vault
}

// interrupt runs f, which waits for a table that is locked, and kills its connection there, as
// the death of the service would, until f gives up.
func (l *lifeRig) interrupt(table string, f func() error) {
	l.t.Helper()
	ctx := context.Background()
	lock, err := l.db.AdminConn(ctx, l.database)
	require.NoError(l.t, err)
	defer func() { _ = lock.Close(ctx) }()
	for _, statement := range []string{"BEGIN", "LOCK TABLE " + table + " IN SHARE MODE"} { // reads pass, deletes wait
		_, err = lock.Exec(ctx, statement)
		require.NoError(l.t, err)
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	killed := 0
	require.Eventually(l.t, func() bool {
		select {
		case err := <-done:
			require.Error(l.t, err)
			return true
		default:
			killed += len(l.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"))
			return false
		}
	}, patience, tick)
	require.Positive(l.t, killed, "it never came to the table")
}

// Killed in the middle of an erasure, everything of the patient is there; asked again, all of it goes.
func TestErasureIsAllOrNothing(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	f := l.file(l.doctor())
	l.aged(f.patient, longAgo)
	e := l.request(f.patient)
	before := l.left(f.patient)
	for _, table := range []string{"data_keys", "care_team", "resource_index", "erasures"} {
		l.interrupt(table, func() error { _, err := l.grant(l.next, e); return err })
		require.Equal(t, before, l.left(f.patient), table)
		require.Empty(t, l.erasures(l.events()), "no certificate in the log of what did not happen")
	}
	_, err := l.grant(l.next, e)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"erasures": 1}, l.left(f.patient))
	require.Len(t, l.erasures(l.events()), 1)
}

// After rotation, rewrap and trim a backup from before the erasure brings back ciphertext that nobody
// opens; of everybody else the current keyring opens it.
func TestErasureHoldsInAnOlderBackup(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f, other := l.file(doctor), l.file(doctor)
	l.aged(f.patient, longAgo)
	backup := l.dump()
	_, err := l.grant(l.next, l.request(f.patient))
	require.NoError(t, err)

	ctx, vault, name := context.Background(), l.vault(), envelope.KeyName(l.practice)
	require.NoError(t, vault.RotateKey(ctx, name))
	keyring := map[string]string{} // what the tables of keys hold now, by key
	for _, row := range l.sql("SELECT key_id::text, wrapped FROM data_keys UNION SELECT key_id::text, wrapped FROM practice_keys") {
		fresh, err := vault.Rewrap(ctx, name, []string{row[1].(string)})
		require.NoError(t, err)
		keyring[row[0].(string)] = fresh[0]
	}
	key, err := vault.Key(ctx, name)
	require.NoError(t, err)
	require.NoError(t, vault.TrimKey(ctx, name, key.Latest))

	l.undump(backup)
	for id, wrapped := range keyring {
		l.admin("UPDATE data_keys SET wrapped = '"+wrapped+"' WHERE key_id = '"+id+"'", "UPDATE practice_keys SET wrapped = '"+wrapped+"' WHERE key_id = '"+id+"'")
	}
	l.restart() // no key in memory
	require.Equal(t, int64(4), l.left(f.patient)["documents"], "the backup brought the rows back")
	for _, call := range []func() error{
		func() error {
			_, err := l.house.client.GetPatient(l.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
			return err
		},
		func() error {
			_, err := l.house.client.GetNote(l.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
			return err
		},
	} {
		require.Equal(t, codes.DataLoss, status.Code(call()))
	}
	l.unharmed(doctor, other)
}
