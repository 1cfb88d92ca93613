package app_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// A request for erasure is answered by an erasure of that patient that was carried out, or by one that was refused under
// an exemption; nothing else closes it.
func TestErasureRequestsAreCompletedByWhatWasDecided(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor, desk := l.doctor(), l.desk()
	f, other := l.file(doctor), l.file(doctor)
	refuse := func(e *recordsv1.Erasure) {
		_, err := l.client.DecideErasure(l.as(l.next), &recordsv1.DecideErasureRequest{Name: e.GetName(), Decision: &recordsv1.DecideErasureRequest_Exemption{
			Exemption: recordsv1.ErasureExemption_ERASURE_EXEMPTION_LEGAL_OBLIGATION,
		}})
		require.NoError(t, err)
	}
	decided := func(granted bool, received time.Time) *recordsv1.RightsRequest {
		r := ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ERASURE)
		r.ReceiveTime = timestamppb.New(received)
		r = asked(t, l.as(doctor), desk, f.patient, r)
		_, err := desk.VerifyRequester(l.as(doctor), &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
		require.NoError(t, err)
		r, err = desk.DecideRightsRequest(l.as(doctor), &recordsv1.DecideRightsRequestRequest{
			Name: r.GetName(), Granted: granted, Ground: "Article 17(3)(b)", Reason: "Records are kept for seven years.",
		})
		require.NoError(t, err)
		return r
	}
	complete := func(r *recordsv1.RightsRequest, erasure string) (*recordsv1.RightsRequest, error) {
		return desk.CompleteRightsRequest(l.as(doctor), &recordsv1.CompleteRightsRequestRequest{Name: r.GetName(), Evidence: "Letter", Erasure: erasure})
	}
	refusedTo := func(reason string, r *recordsv1.RightsRequest, erasure string) {
		t.Helper()
		events := l.since(func() {
			_, err := complete(r, erasure)
			refusedAs(t, reason, err)
		})
		require.NotEmpty(t, events)
		for _, e := range events {
			require.NotEqual(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome())
		}
	}

	earlier := l.request(f.patient)
	refuse(earlier)
	elsewhere := l.request(other.patient)
	refuse(elsewhere)
	r := decided(false, l.now())
	refusedTo("ERASURE_REQUIRED", r, "")
	for _, wrong := range []string{"done", "erasures/", "erasures/" + uuid.NewString(), elsewhere.GetName(), "legalHolds/" + lastPart(earlier.GetName())} {
		refusedTo("ERASURE_UNKNOWN", r, wrong)
	}
	refusedTo("ERASURE_EARLIER", r, earlier.GetName())
	e := l.request(f.patient)
	refusedTo("ERASURE_UNDECIDED", r, e.GetName())
	refuse(e)
	refusedTo("ERASURE_DIFFERS", decided(true, l.now().Add(-time.Hour)), e.GetName())
	r, err := complete(r, e.GetName())
	require.NoError(t, err)
	require.Equal(t, e.GetName(), r.GetErasure())
	require.Equal(t, recordsv1.RightsState_RIGHTS_STATE_COMPLETED, r.GetState())
	access := granted(t, l.as(doctor), desk, other.patient)
	refusedTo("ERASURE_STRAY", access, e.GetName())

	// Carried out, it takes the request along. Where the chart comes back, by an import, a request is answered by the
	// certificate if it was there first.
	l.aged(f.patient, longAgo)
	asking := l.now()
	done, err := l.grant(l.next, l.request(f.patient))
	require.NoError(t, err)
	_, err = desk.GetRightsRequest(l.as(doctor), &recordsv1.GetRightsRequestRequest{Name: r.GetName()})
	refusedAs(t, "NOT_FOUND", err)
	require.Empty(t, l.mustImport(doctor, bundleOf(patientDoc(f.patientID))).problems)
	refusedTo("ERASURE_EARLIER", decided(true, l.now()), done.GetName())
	refusedTo("ERASURE_DIFFERS", decided(false, asking), done.GetName())
	r, err = complete(decided(true, asking), done.GetName())
	require.NoError(t, err)
	require.Equal(t, done.GetName(), r.GetErasure())
}

// Asking for erasure is no contact: where the seven years are over when the request comes in, they stay over through all
// of its steps, and what it asks for is carried out. A request of another kind is a contact, which begins them anew.
func TestErasureRequestsDoNotExtendTheRetention(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor, desk := l.doctor(), l.desk()
	f, other := l.file(doctor), l.file(doctor)
	for _, x := range []file{f, other} {
		l.aged(x.patient, longAgo)
	}
	r := asked(t, l.as(doctor), desk, f.patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ERASURE))
	name := r.GetName()
	_, err := desk.VerifyRequester(l.as(doctor), &recordsv1.VerifyRequesterRequest{Name: name, Verification: twoMethods})
	require.NoError(t, err)
	_, err = desk.PauseRightsRequest(l.as(doctor), &recordsv1.PauseRightsRequestRequest{Name: name, Reason: recordsv1.PauseReason_PAUSE_REASON_IDENTITY})
	require.NoError(t, err)
	_, err = desk.ResumeRightsRequest(l.as(doctor), &recordsv1.ResumeRightsRequestRequest{Name: name})
	require.NoError(t, err)
	_, err = desk.FileStatement(l.as(doctor), &recordsv1.FileStatementRequest{Name: name, Text: "All of it."})
	require.NoError(t, err)
	_, err = desk.DecideRightsRequest(l.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: name, Granted: true})
	require.NoError(t, err)
	require.Len(t, l.sql("SELECT FROM rights_rows WHERE patient_id = $1 AND NOT contact", f.patientID), 6, "every step")
	done, err := l.grant(l.next, l.request(f.patient))
	require.NoError(t, err)
	require.NotEmpty(t, done.GetCertificate())
	require.Equal(t, map[string]int64{"erasures": 1}, l.left(f.patientID))

	// The request went with the chart. Where the person asks again at a practice that has the chart again, by an import,
	// the same erasure completes the request that came in before it.
	require.Empty(t, l.mustImport(doctor, bundleOf(patientDoc(f.patientID))).problems)
	again := ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ERASURE)
	again.ReceiveTime = r.GetReceiveTime()
	r = asked(t, l.as(doctor), desk, f.patient, again)
	_, err = desk.VerifyRequester(l.as(doctor), &recordsv1.VerifyRequesterRequest{Name: r.GetName(), Verification: twoMethods})
	require.NoError(t, err)
	_, err = desk.DecideRightsRequest(l.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: r.GetName(), Granted: true})
	require.NoError(t, err)
	r, err = desk.CompleteRightsRequest(l.as(doctor), &recordsv1.CompleteRightsRequestRequest{Name: r.GetName(), Evidence: "Letter", Erasure: done.GetName()})
	require.NoError(t, err)
	require.Equal(t, recordsv1.RightsState_RIGHTS_STATE_COMPLETED, r.GetState())

	asked(t, l.as(doctor), desk, other.patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
	require.Empty(t, l.sql("SELECT FROM rights_rows WHERE patient_id = $1 AND NOT contact", other.patientID))
	_, err = l.grant(l.next, l.request(other.patient))
	refusedAs(t, "RETENTION_RUNS", err)
}
