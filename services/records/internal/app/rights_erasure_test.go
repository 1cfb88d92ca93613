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
	access := granted(t, l.as(doctor), desk, f.patient)
	refusedTo("ERASURE_STRAY", access, e.GetName())

	// Carried out, it takes the request along. Where the chart comes back, by an import, a request is answered by the
	// certificate if it was there first.
	l.aged(f.patient, longAgo)
	l.admin("UPDATE rights_rows SET updated_at = '" + longAgo + "', created_at = '" + longAgo + "'")
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
