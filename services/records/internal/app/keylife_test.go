package app_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
)

// Everything that is sealed under a patient's key moves to the new one, and the old one goes: requests and their
// former versions, the ledger, and the reasons of those who broke the glass.
func TestDTD20_RightsAndOpeningsMoveToTheNewKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin, desk, helper := h.doctor(), h.admin(), h.desk(), h.designated()
	f := h.file(doctor)
	granted(t, h.as(doctor), desk, f.patient)
	_, err := desk.RecordDisclosure(h.as(doctor), &recordsv1.RecordDisclosureRequest{Parent: f.patient, Disclosure: &recordsv1.Disclosure{
		Recipient: "County court", Description: "Visits of 2025", Purpose: "Subpoena 17", Verification: twoMethods,
		Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_JUDICIAL,
	}})
	require.NoError(t, err)
	_, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)
	_, err = h.referrals().CreateReferral(h.as(doctor), refer(f, h.doctor()))
	require.NoError(t, err)
	rows := len(h.sql("SELECT FROM rights_rows WHERE patient_id = $1", f.patientID))
	require.Equal(t, 4, rows)

	j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
	job := h.finished(admin, j, err)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())
	require.EqualValues(t, 4+rows+2, job.GetDone())
	require.EqualValues(t, 4+rows+2, job.GetTotal())
	require.Len(t, h.sql("SELECT FROM data_keys WHERE patient_id = $1", f.patientID), 1)
	require.EqualValues(t, 4+rows+2, h.sql("SELECT seals FROM data_keys WHERE patient_id = $1", f.patientID)[0][0])

	h.restart() // no key in memory
	desk = h.desk()
	requests, err := desk.ListRightsRequests(h.as(doctor), &recordsv1.ListRightsRequestsRequest{Parent: f.patient})
	require.NoError(t, err)
	require.Equal(t, "Everything about my knee", requests.GetRightsRequests()[0].GetDescription())
	ledger, err := desk.ListDisclosures(h.as(doctor), &recordsv1.ListDisclosuresRequest{Parent: f.patient})
	require.NoError(t, err)
	require.Equal(t, "County court", ledger.GetDisclosures()[0].GetRecipient())
	openings, err := h.access.ListGlassOpenings(h.as(admin), &recordsv1.ListGlassOpeningsRequest{})
	require.NoError(t, err)
	require.Equal(t, emergency, openings.GetOpenings()[0].GetReason())
	referrals, err := h.referrals().ListReferrals(h.as(doctor), &recordsv1.ListReferralsRequest{})
	require.NoError(t, err)
	require.Equal(t, referralReason, referrals.GetReferrals()[0].GetReason())
}

// Whoever adds a table that is sealed under data keys adds it to the re-encryption, or no key is ever dropped.
func TestDTD20_NoTableIsForgottenByReencryption(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var names []string
	for _, row := range h.sql("SELECT table_name::text FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'key_id' ORDER BY 1") {
		names = append(names, row[0].(string))
	}
	require.Equal(t, []string{
		"data_keys", "document_history", "documents", "glass_openings", "index_generations", "key_jobs", "legal_holds",
		"patients", "practice_keys", "referrals", "rights_rows", "watch_lists",
	}, names, "teach store.rest and reseal_rest, or internal/upkeep, about the table")
}

// A hundred jobs that fail again and again do not keep others from their turn.
func TestDTD20_StuckJobsWait(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	h.sql(`INSERT INTO key_jobs (practice_id, job_id, kind, state, created_at, updated_at)
		SELECT gen_random_uuid(), gen_random_uuid(), 'REWRAP', 'RUNNING', now() - interval '9 days', now() - interval '9 days' FROM generate_series(1, 120)`)
	j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, h.finished(admin, j, err).GetState())
	require.NotEmpty(t, h.sql("SELECT FROM key_jobs WHERE failures > 0 AND not_before > updated_at AND state = 'RUNNING'"))
}

// A rewrap that found a broken key, and one that was lost, are begun again; so is a re-encryption.
func TestDTD20_BrokenJobsAreTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	doctor, admin := h.doctor(), h.admin()
	f := h.file(doctor)
	wrapped := h.sql("SELECT wrapped FROM data_keys WHERE patient_id = $1", f.patientID)[0][0].(string)
	h.tamper("UPDATE data_keys SET wrapped = left(wrapped, 30) || 'AAAA' || substr(wrapped, 35) WHERE patient_id = $1", f.patientID)
	j, err := h.keys.RotatePracticeKey(h.as(admin), &recordsv1.RotatePracticeKeyRequest{})
	require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, h.finished(admin, j, err).GetState())
	h.tamper("UPDATE data_keys SET wrapped = $1 WHERE patient_id = $2", wrapped, f.patientID)
	h.pass(25 * time.Hour)
	require.Eventually(t, func() bool { return h.wraps()["v2"] == 3 }, 3*patience, tick)

	// A version that came when the rewrap before was about to end.
	vault, err := street.vault.Client("records")
	require.NoError(t, err)
	defer vault.Close()
	require.NoError(t, vault.RotateKey(context.Background(), envelope.KeyName(h.practice)))
	h.sql("INSERT INTO practice_key_versions (practice_id, version, rotated_at) VALUES ($1, 3, now())", h.practice)
	h.pass(2 * time.Hour)
	require.Eventually(t, func() bool { return h.wraps()["v3"] == 3 }, 3*patience, tick)

	seal := h.sql("SELECT sealed FROM documents WHERE id = $1", f.noteID)[0][0].([]byte)
	h.tamper("UPDATE documents SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = $1", f.noteID)
	j, err = h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{Patient: f.patient})
	require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, h.finished(admin, j, err).GetState())
	h.tamper("UPDATE documents SET sealed = $1 WHERE id = $2", seal, f.noteID)
	h.pass(25 * time.Hour)
	require.Eventually(t, func() bool {
		return len(h.sql("SELECT FROM data_keys WHERE patient_id = $1", f.patientID)) == 1
	}, 3*patience, tick)
}

// A rewrap that ends while a newer version is noted goes on to that one.
func TestDTD20_ARotationDuringARewrapIsNotLost(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	admin := h.admin()
	h.file(h.doctor())
	h.tamper("INSERT INTO practice_key_versions (practice_id, version, rotated_at) VALUES ($1, 3, now())", h.practice)
	j, err := h.keys.RotatePracticeKey(h.as(admin), &recordsv1.RotatePracticeKeyRequest{}) // to 2; 3 is to come
	require.NoError(t, err)
	require.Eventually(t, func() bool { return h.wraps()["v2"] == 3 }, 3*patience, tick)
	require.Equal(t, "RUNNING", h.sql("SELECT state FROM key_jobs WHERE kind = 'REWRAP'")[0][0])
	vault, err := street.vault.Client("records")
	require.NoError(t, err)
	defer vault.Close()
	require.NoError(t, vault.RotateKey(context.Background(), envelope.KeyName(h.practice)))
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, h.finished(admin, j, nil).GetState())
	require.Equal(t, map[string]int{"v3": 3}, h.wraps())
}

// An erasure brings about that copies of the patient's key open nothing 35 days later, and nobody has to think of it: the
// practice's key is rotated within a day, everything else rewrapped, and the old version destroyed before its day.
func TestErasureMakesOlderBackupsWorthlessInTime(t *testing.T) {
	t.Parallel()
	l := newLife(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	doctor := l.doctor()
	f, other := l.file(doctor), l.file(doctor)
	l.aged(f.patient, longAgo)
	wrapped := l.sql("SELECT wrapped FROM data_keys WHERE patient_id = $1", f.patientID)[0][0].(string)
	began := l.now()
	_, err := l.grant(l.next, l.request(f.patient))
	require.NoError(t, err)
	due := l.status(l.first).GetRotationDueTime().AsTime()
	require.WithinDuration(t, began.Add(day), due, time.Minute)
	versions := func() string {
		return fmt.Sprint(l.sql("SELECT version, rewrapped_at IS NOT NULL, trimmed_at IS NOT NULL FROM practice_key_versions WHERE practice_id = $1", l.practice))
	}

	l.pass(25 * time.Hour)
	require.Eventually(t, func() bool { return versions() == "[[2 true false]]" }, 3*patience, tick, "rotated and rewrapped")
	require.WithinDuration(t, began.Add(34*day), l.status(l.first).GetTrimDueTime().AsTime(), time.Minute)
	vault := l.vault()
	open := func() error {
		_, err := vault.Decrypt(context.Background(), envelope.KeyName(l.practice), []string{wrapped})
		return err
	}
	require.NoError(t, open(), "a backup of yesterday may still be needed")
	l.pass(33 * day) // 34 days and an hour
	require.Eventually(t, func() bool { return versions() == "[[2 true true]]" }, 3*patience, tick)
	require.Equal(t, errs.KindDataLoss, errs.KindOf(open()))
	l.unharmed(doctor, other)
	require.Empty(t, l.alerts("ERASURE_TRIM_OVERDUE"))

	// One that cannot be kept is an alert: a key that does not open keeps the old version.
	l.aged(other.patient, longAgo)
	stuck := l.file(doctor)
	_, err = l.grant(l.next, l.request(other.patient))
	require.NoError(t, err)
	l.tamper("UPDATE data_keys SET wrapped = left(wrapped, 30) || 'AAAA' || substr(wrapped, 35) WHERE patient_id = $1", stuck.patientID)
	l.pass(25 * time.Hour)
	require.Eventually(t, func() bool { return len(l.sql("SELECT FROM key_jobs WHERE kind = 'REWRAP' AND state = 'BROKEN'")) > 0 }, 3*patience, tick)
	l.pass(35 * day)
	require.Eventually(t, func() bool { return len(l.alerts("ERASURE_TRIM_OVERDUE")) > 0 }, 3*patience, tick)
}

// A request, a broken glass and a referral are contacts: the retention runs from them as from what is in the chart.
func TestDH46_RightsAndOpeningsAreContacts(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	for name, contact := range map[string]func(file){
		"request": func(f file) {
			asked(t, l.as(doctor), l.desk(), f.patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
		},
		"glass": func(f file) {
			_, err := l.access.BreakGlass(l.as(l.designated()), breakGlass(f))
			require.NoError(t, err)
		},
		"referral": func(f file) {
			_, err := l.referrals().CreateReferral(l.as(doctor), refer(f, l.doctor()))
			require.NoError(t, err)
		},
	} {
		f := l.file(doctor)
		l.aged(f.patient, longAgo)
		contact(f)
		require.Equal(t, "CK002", l.eraseAsService(f.patient), name)
	}
}

// From the decision on nothing is stored for a practice that leaves, whichever replica is asked.
func TestDMD33_NothingIsStoredForAPracticeThatLeaves(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f := l.file(doctor)
	l.admin(`INSERT INTO practice_exits (practice_id, exit_id, state, requested_by, requested_at, approved_by, manifest_digest)
		VALUES ('` + l.practice.String() + `', gen_random_uuid(), 4, gen_random_uuid(), now(), gen_random_uuid(), 'x')`)
	ctx := context.Background()
	conn, err := l.db.Conn(ctx, "records", "records_app", l.database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", l.practice.String())
	require.NoError(t, err)
	for _, statement := range []string{
		"UPDATE documents SET version = version + 1 WHERE id = '" + f.noteID + "'", "UPDATE legal_holds SET released_at = now()",
		"UPDATE glass_openings SET ends_at = now()", "UPDATE referrals SET withdrawn_at = now()", "UPDATE care_team SET added_at = now()",
		"INSERT INTO rights_rows SELECT * FROM rights_rows",
	} {
		_, err := conn.Exec(ctx, statement)
		require.ErrorContains(t, err, "CK004", statement)
	}
	// Who writes is told so, as by a replica that knows.
	_, err = l.house.client.UpdateNote(l.as(doctor), &recordsv1.UpdateNoteRequest{Note: &recordsv1.Note{Name: f.note, Text: "Late.", Etag: "v1"}})
	refusedAs(t, "PRACTICE_CLOSED", err)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.NotContains(t, err.Error(), "CK004")
	_, err = l.house.client.CreatePatient(l.as(doctor), &recordsv1.CreatePatientRequest{Patient: &recordsv1.Patient{FamilyName: "Late"}})
	refusedAs(t, "PRACTICE_CLOSED", err)
	refused := l.fhir(doctor, "POST", "/Patient", `{"resourceType":"Patient"}`)
	require.Equal(t, "PRACTICE_CLOSED", refused.reason(), refused.body)
}

// Whoever joins a care team while the patient is erased waits for it, and leaves nothing behind.
func TestErasureLeavesNoMemberWhoJoinedMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	f := l.file(doctor)
	l.aged(f.patient, longAgo)
	ctx := context.Background()
	conn, err := l.db.AdminConn(ctx, l.database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range []string{"BEGIN", "SET LOCAL carekeep.practice = '" + l.practice.String() + "'", "SELECT erase_patient('" + l.practice.String() + "', '" + f.patientID + "')"} {
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = l.house.client.AddCareTeamMember(l.as(doctor), &recordsv1.AddCareTeamMemberRequest{
			Name: f.patient + "/careTeam", User: "users/" + l.doctor().User.String(),
		})
	}()
	require.Eventually(t, func() bool {
		return len(l.sql("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")) > 0
	}, patience, tick)
	_, err = conn.Exec(ctx, "COMMIT")
	require.NoError(t, err)
	<-done
	require.Empty(t, l.left(f.patient))
}
