package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
)

// The database dies by SIGKILL, more than once, in the middle of a re-encryption and of a rewrap, while somebody
// writes. Both go on by themselves and end: nothing is under an old key or version, the old key is gone, and every
// version is there with what it said.
func TestDH54_JobsSurviveAKill(t *testing.T) {
	t.Parallel()
	build(t)
	db, err := postgres.Start(context.Background(), postgres.Options{Dir: t.TempDir(), CA: postgres.ForTest(t).CA()})
	require.NoError(t, err)
	t.Cleanup(db.Stop)
	h := newHouseOn(t, db, func(s *settings) { s.Upkeep.ResealPerSecond, s.Upkeep.PollSeconds = 64, 1 })
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	const many = 160
	var notes []string
	for range many {
		notes = append(notes, `{"resourceType":"Condition","id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+f.patientID+`"}}`)
	}
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(notes...)))
	require.NoError(t, err)
	require.Empty(t, got.problems)
	contents := func() string {
		return fmt.Sprint(h.sql("SELECT type, id, patient_id, version, digest FROM documents WHERE type = 'Condition' ORDER BY 2"))
	}
	was := contents()
	old := h.sql("SELECT key_id FROM patients WHERE patient_id = $1", f.patientID)[0][0].(uuid.UUID)

	job, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
	require.NoError(t, err)
	moved := func() int {
		return len(h.sql("SELECT FROM documents WHERE patient_id = $1 AND key_id <> $2", f.patientID, old))
	}
	for kills, at := 0, 0; kills < 2; kills++ {
		require.Eventually(t, func() bool { return moved() > at }, 3*patience, tick)
		db.Kill()
		require.NoError(t, db.Restart(context.Background()))
		at = moved()
		require.Less(t, at, many, "it was killed in the middle")
	}
	// A patient is treated meanwhile.
	note, err := h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v1", Text: "Fever."}})
	require.NoError(t, err)
	job = h.finished(admin, job, nil)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())
	require.Equal(t, was, contents())
	require.Empty(t, h.sql("SELECT FROM data_keys WHERE key_id = $1", old))
	require.Empty(t, h.sql("SELECT FROM documents d WHERE NOT EXISTS (SELECT FROM data_keys k WHERE k.key_id = d.key_id)"))

	// A rotation of the practice's key, whose rewrap is cut off as well.
	for range 2 {
		_, err := h.keys.RotatePracticeKey(h.as(admin), &recordsv1.RotatePracticeKeyRequest{})
		require.NoError(t, err)
		db.Kill()
		require.NoError(t, db.Restart(context.Background()))
	}
	require.Eventually(t, func() bool {
		return len(h.sql("SELECT FROM key_jobs WHERE state = 'RUNNING'")) == 0 && h.wraps()["v3"] == 3
	}, 3*patience, tick)
	h.restart()
	read, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	require.Equal(t, note.GetText(), read.GetText())
	scrub, critical := h.scrubbed(admin)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, scrub.GetState(), "%v", critical)
}
