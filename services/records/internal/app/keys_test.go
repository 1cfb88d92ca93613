package app_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
)

// admin holds what auth gives an administrator of these RPCs.
func (h *house) admin() *user {
	return h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
}

// finished waits until a job has ended, and returns it.
func (h *house) finished(u *user, j *recordsv1.KeyJob, err error) *recordsv1.KeyJob {
	h.t.Helper()
	require.NoError(h.t, err)
	require.Eventually(h.t, func() bool {
		j, err = h.keys.GetKeyJob(h.as(u), &recordsv1.GetKeyJobRequest{Name: j.GetName()})
		return err == nil && j.GetState() != recordsv1.KeyJob_STATE_RUNNING
	}, 3*patience, tick, "the job does not end: %v %v", j, err)
	return j
}

func (h *house) status(u *user) *recordsv1.KeyStatus {
	h.t.Helper()
	s, err := h.keys.GetKeyStatus(h.as(u), &recordsv1.GetKeyStatusRequest{})
	require.NoError(h.t, err)
	return s
}

// wraps are the versions under which the keys of the practice are wrapped.
func (h *house) wraps() map[string]int {
	out := map[string]int{}
	for _, row := range h.sql(`SELECT split_part(wrapped, ':', 2) FROM data_keys WHERE practice_id = $1
		UNION ALL SELECT split_part(wrapped, ':', 2) FROM practice_keys WHERE practice_id = $1`, h.practice) {
		out[row[0].(string)]++
	}
	return out
}

// The practice's key is rotated while it is in use: what was sealed before is read as
// before, new keys are wrapped under the new version, old ones are rewrapped without becoming plain
// here, and the old version is destroyed once it is due and not before.
func TestDH54_PracticeKeyRotatesLive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	before := h.sql("SELECT wrapped FROM data_keys WHERE patient_id = $1", f.patientID)[0][0].(string)

	var job *recordsv1.KeyJob
	events := h.since(func() {
		j, err := h.keys.RotatePracticeKey(h.as(admin), &recordsv1.RotatePracticeKeyRequest{})
		job = h.finished(admin, j, err)
	})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())
	require.EqualValues(t, 3, job.GetDone(), "index key, the directory's and the patient's")
	require.Equal(t, map[string]int{"v2": 3}, h.wraps())
	actions := map[accessv1.Action]int{}
	for _, e := range events {
		require.Equal(t, h.practice.String(), e.GetPracticeId())
		actions[e.GetAction()]++
	}
	require.Equal(t, 1, actions[accessv1.Action_ACTION_KEY_ROTATE])
	require.Equal(t, 2, actions[accessv1.Action_ACTION_KEY_REWRAP], "the batch, and the end")
	require.Zero(t, actions[accessv1.Action_ACTION_KEY_UNWRAP], "nothing becomes plain")

	h.restart() // so that no key is in memory
	_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	h.file(doctor)
	require.Equal(t, map[string]int{"v2": 4}, h.wraps(), "new keys have the new version")

	s := h.status(admin)
	require.Len(t, s.GetVersions(), 2)
	require.EqualValues(t, 4, s.GetVersions()[1].GetWrappedKeys())
	require.NotNil(t, s.GetTrimDueTime())
	require.EqualValues(t, 1, s.GetMinDecryptionVersion())
	require.EqualValues(t, 3, s.GetDataKeys())
	require.Zero(t, s.GetDataKeysDue())

	vault, err := street.vault.Client("records")
	require.NoError(t, err)
	defer vault.Close()
	open := func() error {
		_, err := vault.Decrypt(context.Background(), envelope.KeyName(h.practice), []string{before})
		return err
	}
	_, err = h.keys.TrimPracticeKey(h.as(admin), &recordsv1.TrimPracticeKeyRequest{})
	require.Equal(t, "KEY_TRIM_NOT_DUE", errs.ReasonOf(err), "a backup may still need the old version")
	require.NoError(t, open())

	h.tamper("UPDATE practice_key_versions SET rewrapped_at = rewrapped_at - interval '35 days 1 second' WHERE practice_id = $1", h.practice)
	now := h.sql("SELECT key_id, wrapped FROM data_keys WHERE patient_id = $1", f.patientID)[0]
	h.tamper("UPDATE data_keys SET wrapped = $1 WHERE key_id = $2", before, now[0])
	_, err = h.keys.TrimPracticeKey(h.as(admin), &recordsv1.TrimPracticeKeyRequest{})
	require.Equal(t, "KEY_TRIM_REWRAP_FIRST", errs.ReasonOf(err), "somebody put an old wrap back")
	require.NoError(t, open())
	require.Eventually(t, func() bool {
		return h.wraps()["v1"] == 0 && len(h.sql("SELECT FROM key_jobs WHERE state = 'RUNNING'")) == 0
	}, patience, tick, "the refusal started a rewrap")

	events = h.since(func() { _, err = h.keys.TrimPracticeKey(h.as(admin), &recordsv1.TrimPracticeKeyRequest{}) })
	require.NoError(t, err)
	require.Equal(t, accessv1.Action_ACTION_KEY_DESTROY, events[0].GetAction())
	require.EqualValues(t, 2, events[0].GetResourceVersion())
	require.Equal(t, errs.KindDataLoss, errs.KindOf(open()), "the old wrap, from whatever copy, opens nothing any more")
	h.restart()
	_, err = h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	s = h.status(admin)
	require.Len(t, s.GetVersions(), 1)
	require.EqualValues(t, 2, s.GetMinDecryptionVersion())
	require.Nil(t, s.GetTrimDueTime())
}

// Rotation, trim and scrub come by themselves when they are due.
func TestDTD20_DueWorkStartsByItself(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.admin()
	worn := h.file(doctor)
	h.tamper("UPDATE data_keys SET seals = 1073741824 WHERE patient_id = $1", worn.patientID)
	old := h.sql("SELECT key_id FROM patients WHERE patient_id = $1", worn.patientID)[0][0].(uuid.UUID)
	aged := h.patient(doctor)
	agedID := aged.GetName()[len("patients/"):]
	h.tamper("UPDATE data_keys SET created_at = now() - interval '731 days' WHERE patient_id = $1", agedID)
	fresh := h.sql("SELECT key_id FROM patients WHERE practice_id = $1 AND patient_id NOT IN ($2, $3)", h.practice, worn.patientID, agedID)[0][0]
	h.tamper("UPDATE practices SET created_at = now() - interval '31 days'")
	require.EqualValues(t, 2, h.status(admin).GetDataKeysDue())
	h.restart() // a start looks through all practices
	require.Eventually(t, func() bool {
		return len(h.sql("SELECT FROM data_keys WHERE key_id = $1 OR created_at < now() - interval '730 days'", old)) == 0
	}, 3*patience, tick)
	require.Zero(t, h.status(admin).GetDataKeysDue())
	require.Len(t, h.sql("SELECT FROM patients WHERE key_id = $1", fresh), 1, "the directory's key was not due")
	_, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: worn.note})
	require.NoError(t, err)
	_, err = h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: aged.GetName()})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return len(h.sql("SELECT FROM key_jobs WHERE kind = 'SCRUB' AND state = 'DONE' AND practice_id = $1", h.practice)) == 1
	}, 3*patience, tick)
	require.Len(t, h.status(admin).GetVersions(), 1, "the practice's key is new")
}

// A data key is replaced while the patient is treated: former and current versions, deleted ones too, move
// to the new key with their content, number and digest, and the old key is gone.
func TestDTD20_DataKeyRotation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	note, err := h.client.UpdateNote(h.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Etag: "v1", Text: "Fever."}})
	require.NoError(t, err)
	_, err = h.client.DeleteAppointment(h.as(doctor), &recordsv1.DeleteAppointmentRequest{Name: f.appointment})
	require.NoError(t, err)
	contents := func() string {
		return fmt.Sprint(h.sql(`SELECT type, id, patient_id, version, digest, deleted, created_at, updated_at FROM documents WHERE patient_id = $1
			UNION ALL SELECT type, id, patient_id, version, digest, deleted, created_at, updated_at FROM document_history WHERE patient_id = $1 ORDER BY 1, 2, 4`, f.patientID))
	}
	was := contents()
	old := h.sql("SELECT key_id FROM patients WHERE patient_id = $1", f.patientID)[0][0].(uuid.UUID)

	var job *recordsv1.KeyJob
	events := h.since(func() {
		j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
		job = h.finished(admin, j, err)
	})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())
	require.EqualValues(t, 6, job.GetDone(), "four documents and two former versions")
	require.EqualValues(t, 6, job.GetTotal())
	require.Equal(t, was, contents())
	require.Empty(t, h.sql("SELECT FROM data_keys WHERE key_id = $1", old))
	require.Empty(t, h.sql("SELECT FROM documents WHERE key_id = $1 UNION ALL SELECT FROM document_history WHERE key_id = $1", old))
	require.EqualValues(t, 6, h.sql("SELECT seals FROM data_keys WHERE patient_id = $1", f.patientID)[0][0])
	var destroyed, resealed bool
	for _, e := range events {
		destroyed = destroyed || e.GetAction() == accessv1.Action_ACTION_KEY_DESTROY && e.GetResource() == "keys/"+old.String()
		resealed = resealed || e.GetAction() == accessv1.Action_ACTION_KEY_RESEAL && e.GetPatientId() == f.patientID && e.GetCount() == 6
	}
	require.True(t, destroyed && resealed)

	got, err := h.client.GetNote(h.as(doctor), &recordsv1.GetNoteRequest{Name: f.note})
	require.NoError(t, err)
	require.Equal(t, note.GetText(), got.GetText())
	require.Equal(t, "v2", got.GetEtag())
	_, err = h.client.GetResourceVersion(h.as(doctor), &recordsv1.GetResourceVersionRequest{Type: "DocumentReference", Id: f.noteID, Version: 1})
	require.NoError(t, err)
	_, err = h.client.CreateNote(h.as(doctor), &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "x"}})
	require.NoError(t, err)

	// The directory has a key as well.
	h.mustImport(doctor, bundleOf(`{"resourceType":"Organization","id":"`+uuid.NewString()+`","name":"Clinic"}`))
	j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{})
	require.EqualValues(t, 1, h.finished(admin, j, err).GetDone())
	require.Empty(t, h.mustImport(doctor, bundleOf(`{"resourceType":"Organization","id":"`+uuid.NewString()+`","name":"Clinic"}`)).problems)
	_, err = h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: "patients/" + uuid.NewString()})
	require.Equal(t, codes.NotFound, status.Code(err))
}

// A document that does not open stays where it is, with its key, and raises the alarm; the others move.
func TestDH17_BrokenDocumentsAreNotResealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	h.tamper("UPDATE documents SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = $1", f.noteID)
	broken := h.sql("SELECT sealed, key_id FROM documents WHERE id = $1", f.noteID)
	var job *recordsv1.KeyJob
	events := h.since(func() {
		j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
		job = h.finished(admin, j, err)
	})
	require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, job.GetState())
	require.EqualValues(t, 1, job.GetBroken())
	require.EqualValues(t, 3, job.GetDone())
	requireCritical(t, events, f.patientID)
	require.Equal(t, broken, h.sql("SELECT sealed, key_id FROM documents WHERE id = $1", f.noteID))
	require.Len(t, h.sql("SELECT FROM data_keys WHERE patient_id = $1", f.patientID), 2)
	_, err := h.client.GetPatient(h.as(doctor), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err)
}

// The new ways of the database change a seal or a wrap, and nothing else, of one practice.
func TestDTD20_ResealChangesNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := h.file(h.doctor())
	ctx := context.Background()
	conn, err := h.db.Conn(ctx, "records", "records_app", h.database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", h.practice.String())
	require.NoError(t, err)
	key := h.sql("SELECT key_id FROM patients WHERE patient_id = $1", f.patientID)[0][0].(uuid.UUID)
	directory := h.sql("SELECT key_id FROM patients WHERE practice_id = $1 AND patient_id <> $2", h.practice, f.patientID)[0][0].(uuid.UUID)
	reseal := func(to uuid.UUID, version int64, digest []byte) (n int64) {
		require.NoError(t, conn.QueryRow(ctx, "SELECT reseal($1, $2, $3, '{DocumentReference}', $4, $5, $6, $7)", h.practice.String(), key.String(), to.String(),
			[]string{f.noteID}, []int64{version}, [][]byte{digest}, [][]byte{[]byte("x")}).Scan(&n))
		return n
	}
	digest := h.sql("SELECT digest FROM documents WHERE id = $1", f.noteID)[0][0].([]byte)
	require.Zero(t, reseal(directory, 1, digest), "a key of another patient")
	require.Zero(t, reseal(uuid.New(), 1, digest), "a key that is not there")
	other := uuid.New()
	h.tamper("INSERT INTO data_keys SELECT practice_id, $2, patient_id, wrapped, 0, created_at FROM data_keys WHERE key_id = $1", key, other)
	require.Zero(t, reseal(other, 2, digest), "another version")
	require.Zero(t, reseal(other, 1, []byte("other")), "another content")
	_, err = conn.Exec(ctx, "UPDATE documents SET key_id = $1, sealed = 'x' WHERE id = $2", other.String(), f.noteID)
	require.ErrorContains(t, err, "one version to the next", "not past the function")
	for _, statement := range []string{"UPDATE patients SET key_id = patient_id", "DELETE FROM data_keys", "UPDATE data_keys SET wrapped = ''", "DELETE FROM key_jobs",
		"UPDATE practice_key_versions SET rotated_at = now()", "UPDATE practices SET created_at = now()"} {
		_, err = conn.Exec(ctx, statement)
		require.ErrorContains(t, err, "42501", statement)
	}
	var done bool
	require.NoError(t, conn.QueryRow(ctx, "SELECT drop_data_key($1, $2)", h.practice.String(), key.String()).Scan(&done))
	require.False(t, done, "a key that is in use stays")
	var n int64
	wrapped := h.sql("SELECT wrapped FROM data_keys WHERE key_id = $1", key)[0][0].(string)
	require.NoError(t, conn.QueryRow(ctx, "SELECT rewrap($1, $2, $3, $4)", h.practice.String(), []string{key.String()}, []string{wrapped},
		[]string{strings.Replace(wrapped, "vault:v1:", "vault:v0:", 1)}).Scan(&n))
	require.Zero(t, n, "never back")
	// Another practice's transaction reaches none of it, and only the nil one lists practices and running jobs.
	_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", uuid.NewString())
	require.NoError(t, err)
	require.Zero(t, reseal(other, 1, digest))
	require.NoError(t, conn.QueryRow(ctx, "SELECT rewrap($1, $2, $3, $4)", h.practice.String(), []string{key.String()}, []string{wrapped},
		[]string{strings.Replace(wrapped, "vault:v1:", "vault:v9:", 1)}).Scan(&n))
	require.Zero(t, n)
	for _, table := range []string{"practices", "key_jobs", "practice_key_versions"} {
		require.Zero(t, countAs(t, conn, uuid.New(), table), table)
	}
	require.Equal(t, 1, countAs(t, conn, uuid.Nil, "practices"))
	require.Zero(t, countAs(t, conn, uuid.Nil, "practice_key_versions"))
}

// Every RPC on keys needs its permission, two factors and a practice, and leaves its event; none reaches
// another practice.
func TestDTD22_KeysRPCsArePermissionedAndKeptApart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	admin := h.admin()
	h.file(h.doctor())
	job, err := h.keys.ScrubStore(h.as(admin), &recordsv1.ScrubStoreRequest{})
	require.NoError(t, err)
	ours := h.practice
	h.practice = uuid.New()
	stranger := h.admin()
	_, err = h.keys.GetKeyJob(h.as(stranger), &recordsv1.GetKeyJobRequest{Name: job.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
	list, err := h.keys.ListKeyJobs(h.as(stranger), &recordsv1.ListKeyJobsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetJobs())
	_, err = h.keys.RotateDataKey(h.as(stranger), &recordsv1.RotateDataKeyRequest{Patient: "patients/" + h.sql(
		"SELECT patient_id::text FROM patients WHERE practice_id = $1 ORDER BY 1 DESC", ours)[0][0].(string)})
	require.Equal(t, codes.NotFound, status.Code(err))
	h.practice = ours
	list, err = h.keys.ListKeyJobs(h.as(admin), &recordsv1.ListKeyJobsRequest{PageSize: 1})
	require.NoError(t, err)
	require.Equal(t, job.GetName(), list.GetJobs()[0].GetName())
	_, err = h.keys.ListKeyJobs(h.as(admin), &recordsv1.ListKeyJobsRequest{PageToken: list.GetNextPageToken()})
	require.NoError(t, err)

	nobody, weak := h.receptionist(h.doctor()), h.admin()
	weak.Assurance = accessv1.Assurance_ASSURANCE_AAL1
	for name, call := range map[string]func(context.Context) error{
		"GetKeyStatus": func(c context.Context) error {
			_, err := h.keys.GetKeyStatus(c, &recordsv1.GetKeyStatusRequest{})
			return err
		},
		"RotatePracticeKey": func(c context.Context) error {
			_, err := h.keys.RotatePracticeKey(c, &recordsv1.RotatePracticeKeyRequest{})
			return err
		},
		"RotateDataKey": func(c context.Context) error {
			_, err := h.keys.RotateDataKey(c, &recordsv1.RotateDataKeyRequest{})
			return err
		},
		"RewrapKeys": func(c context.Context) error {
			_, err := h.keys.RewrapKeys(c, &recordsv1.RewrapKeysRequest{})
			return err
		},
		"TrimPracticeKey": func(c context.Context) error {
			_, err := h.keys.TrimPracticeKey(c, &recordsv1.TrimPracticeKeyRequest{})
			return err
		},
		"ScrubStore": func(c context.Context) error {
			_, err := h.keys.ScrubStore(c, &recordsv1.ScrubStoreRequest{})
			return err
		},
		"GetKeyJob": func(c context.Context) error {
			_, err := h.keys.GetKeyJob(c, &recordsv1.GetKeyJobRequest{Name: job.GetName()})
			return err
		},
		"ListKeyJobs": func(c context.Context) error {
			_, err := h.keys.ListKeyJobs(c, &recordsv1.ListKeyJobsRequest{})
			return err
		},
	} {
		for _, who := range []*user{nobody, weak} {
			events := h.since(func() { require.Equal(t, codes.PermissionDenied, status.Code(call(h.as(who))), name) })
			// The jobs that a call before has started leave events of their own meanwhile.
			events = slices.DeleteFunc(events, func(e *auditv1.Event) bool { return e.GetOutcome() != auditv1.Outcome_OUTCOME_DENIED })
			require.Len(t, events, 1, name)
		}
		if name != "TrimPracticeKey" {
			require.NoError(t, call(h.as(admin)), name)
		}
	}
}

// What a legal hold is about is sealed with the patient's key too, and goes with it.
func TestDTD20_LegalHoldsMoveToTheNewKey(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	f := l.file(l.doctor())
	placed := l.place(l.first, f.patient)
	j, err := l.keys.RotateDataKey(l.as(l.first), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, l.finished(l.first, j, err).GetState())
	require.Len(t, l.sql("SELECT FROM data_keys WHERE patient_id = $1", f.patientID), 1)
	list, err := l.client.ListLegalHolds(l.as(l.first), &recordsv1.ListLegalHoldsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetLegalHolds(), 1)
	require.Equal(t, placed.GetMatter(), list.GetLegalHolds()[0].GetMatter())
}
