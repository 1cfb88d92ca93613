package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

const referralReason = "Murmur over the mitral valve, please examine."

func (h *house) referrals() recordsv1.ReferralServiceClient {
	return recordsv1.NewReferralServiceClient(h.conn)
}

func refer(f file, to *user) *recordsv1.CreateReferralRequest {
	return &recordsv1.CreateReferralRequest{Parent: f.patient, To: "users/" + to.User.String(), Reason: referralReason}
}

// sees are the ways in which somebody might see a patient's chart: all of them, or none.
func (h *house) sees(u *user, f file) bool {
	h.t.Helper()
	_, read := h.client.GetNote(h.as(u), &recordsv1.GetNoteRequest{Name: f.note})
	list, err := h.client.ListPatients(h.as(u), &recordsv1.ListPatientsRequest{})
	require.NoError(h.t, err)
	listed := false
	for _, p := range list.GetPatients() {
		listed = listed || p.GetName() == f.patient
	}
	everything := h.fhir(u, "GET", "/Patient/"+f.patientID+"/$everything", "").status == http.StatusOK
	require.Equal(h.t, read == nil, listed)
	require.Equal(h.t, read == nil, everything)
	if read != nil {
		require.Equal(h.t, codes.NotFound, status.Code(read))
	}
	return read == nil
}

// A referral opens one patient to one doctor and their staff, from its beginning, once
// accepted, to its end or until one of the two doctors withdraws it.
func TestDH55_ReferralOpensOnePatientForItsTime(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, other, third := h.doctor(), h.doctor(), h.doctor()
	f, untouched := h.file(owner), h.file(owner)
	client := h.referrals()
	make := func() *recordsv1.Referral {
		r, err := client.CreateReferral(h.as(owner), refer(f, other))
		require.NoError(t, err)
		return r
	}
	accept := func(u *user, name string) error {
		_, err := client.AcceptReferral(h.as(u), &recordsv1.AcceptReferralRequest{Name: name})
		return err
	}
	withdraw := func(u *user, name string) error {
		_, err := client.WithdrawReferral(h.as(u), &recordsv1.WithdrawReferralRequest{Name: name})
		return err
	}

	var r *recordsv1.Referral
	events := h.since(func() { r = make() })
	last := events[len(events)-1]
	require.Equal(t, accessv1.Action_ACTION_REFERRAL_CHANGE, last.GetAction())
	require.Equal(t, "REFERRED", last.GetReason())
	require.Equal(t, f.patientID, last.GetPatientId())
	require.NotContains(t, last.String(), "Murmur")
	require.Equal(t, 30*24*time.Hour, r.GetEndTime().AsTime().Sub(r.GetStartTime().AsTime()))
	require.Equal(t, recordsv1.ReferralState_REFERRAL_STATE_OPEN, r.GetState())
	require.False(t, h.sees(other, f), "asked is not accepted")
	require.Equal(t, codes.NotFound, status.Code(accept(third, r.GetName())), "only who is asked decides")
	require.Equal(t, codes.NotFound, status.Code(accept(owner, r.GetName())))
	require.NoError(t, accept(other, r.GetName()))
	require.Equal(t, codes.NotFound, status.Code(accept(other, r.GetName())), "once")
	require.True(t, h.sees(other, f))
	_, err := h.client.GetPatient(h.as(h.receptionist(other)), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err, "so do the staff who act for them")
	require.False(t, h.sees(third, f))
	require.False(t, h.sees(other, untouched), "one patient")

	// Both have it in their lists, with its reason; nobody else has.
	for _, u := range []*user{owner, other, third} {
		list, err := client.ListReferrals(h.as(u), &recordsv1.ListReferralsRequest{})
		require.NoError(t, err)
		if u == third {
			require.Empty(t, list.GetReferrals())
			continue
		}
		require.Len(t, list.GetReferrals(), 1)
		require.Equal(t, referralReason, list.GetReferrals()[0].GetReason())
		require.Equal(t, recordsv1.ReferralState_REFERRAL_STATE_ACCEPTED, list.GetReferrals()[0].GetState())
	}

	// What would outlast the referral is not possible through it.
	_, err = h.client.AddCareTeamMember(h.as(other), &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: "users/" + other.User.String()})
	require.Equal(t, "NOT_THROUGH_REFERRAL", errs.ReasonOf(err))
	_, err = h.client.DeletePatient(h.as(other), &recordsv1.DeletePatientRequest{Name: f.patient})
	require.Equal(t, "NOT_THROUGH_REFERRAL", errs.ReasonOf(err))
	_, err = client.CreateReferral(h.as(other), refer(f, third))
	require.Equal(t, "NOT_THE_CARE_TEAM", errs.ReasonOf(err))
	require.Equal(t, http.StatusOK, h.fhir(owner, "GET", "/Patient/"+f.patientID, "").status)
	team, err := h.client.GetCareTeam(h.as(owner), &recordsv1.GetCareTeamRequest{Name: f.patient + "/careTeam"})
	require.NoError(t, err)
	require.Equal(t, []string{"users/" + owner.User.String()}, team.GetUsers())

	// Its time: the beginning, and the end.
	h.sql("UPDATE referrals SET starts_at = now() + interval '1 hour'")
	require.False(t, h.sees(other, f), "not yet")
	h.sql("UPDATE referrals SET starts_at = now() - interval '10 days', ends_at = now() - interval '1 second'")
	require.False(t, h.sees(other, f), "over")
	list, err := client.ListReferrals(h.as(other), &recordsv1.ListReferralsRequest{Closed: true})
	require.NoError(t, err)
	require.Equal(t, recordsv1.ReferralState_REFERRAL_STATE_ENDED, list.GetReferrals()[0].GetState())
	require.Empty(t, list.GetReferrals()[0].GetReason(), "what is over tells no more")
	list, err = client.ListReferrals(h.as(other), &recordsv1.ListReferralsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetReferrals())

	// Either withdraws; nobody else does.
	for _, by := range []*user{owner, other} {
		r = make()
		require.NoError(t, accept(other, r.GetName()))
		require.True(t, h.sees(other, f))
		require.Equal(t, codes.NotFound, status.Code(withdraw(third, r.GetName())))
		require.NoError(t, withdraw(by, r.GetName()))
		require.False(t, h.sees(other, f))
		require.Equal(t, codes.NotFound, status.Code(accept(other, r.GetName())), "withdrawn for good")
	}
	r = make()
	_, err = client.DeclineReferral(h.as(other), &recordsv1.DeclineReferralRequest{Name: r.GetName()})
	require.NoError(t, err)
	require.False(t, h.sees(other, f))
	require.Equal(t, codes.NotFound, status.Code(accept(other, r.GetName())))
}

// Who does not see the patient learns from a referral no more than from a random id; other
// practices see nothing; the reason is on no disk in the clear; the bounds of time hold.
func TestDH55_ReferralsTellStrangersNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, other := h.doctor(), h.doctor()
	f := h.file(owner)
	client := h.referrals()
	events := h.since(func() {
		_, theirs := client.CreateReferral(h.as(other), refer(f, owner))
		_, random := client.CreateReferral(h.as(other), refer(nowhere(), owner))
		require.Equal(t, codes.NotFound, status.Code(theirs))
		require.Equal(t, status.Convert(random).Proto().String(), status.Convert(theirs).Proto().String())
	})
	require.Equal(t, "NOT_ON_CARE_TEAM", events[0].GetReason())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[0].GetOutcome())
	whole := h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	_, err := client.CreateReferral(h.as(whole), refer(f, other))
	require.Equal(t, "NOT_THE_CARE_TEAM", errs.ReasonOf(err), "the scope of the practice is no place on the team")

	_, err = client.CreateReferral(h.as(owner), refer(f, owner))
	require.Equal(t, "REFERRAL_TO_SELF", errs.ReasonOf(err))
	now := time.Now()
	for name, c := range map[string]struct{ start, end time.Time }{
		"in the past":      {now.Add(-48 * time.Hour), now.Add(-24 * time.Hour)},
		"before it begins": {now.Add(2 * time.Hour), now.Add(time.Hour)},
		"too long":         {now, now.Add(181 * 24 * time.Hour)},
		"too far away":     {now.Add(200 * 24 * time.Hour), now.Add(201 * 24 * time.Hour)},
	} {
		request := refer(f, other)
		request.StartTime, request.EndTime = timestamppb.New(c.start), timestamppb.New(c.end)
		_, err := client.CreateReferral(h.as(owner), request)
		require.Equal(t, "PERIOD_INVALID", errs.ReasonOf(err), name)
	}
	require.Error(t, h.try("INSERT INTO referrals SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '', now(), now(), now() + interval '181 days'"))

	r, err := client.CreateReferral(h.as(owner), refer(f, other))
	require.NoError(t, err)
	for _, row := range h.sql("SELECT reason FROM referrals") {
		require.NotContains(t, string(row[0].([]byte)), "Murmur")
	}
	// The same user in another practice is another user.
	twin := *other
	twin.Practice = uuid.New()
	_, err = client.AcceptReferral(h.as(&twin), &recordsv1.AcceptReferralRequest{Name: r.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = client.WithdrawReferral(h.as(&twin), &recordsv1.WithdrawReferralRequest{Name: r.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err))
	list, err := client.ListReferrals(h.as(&twin), &recordsv1.ListReferralsRequest{Closed: true})
	require.NoError(t, err)
	require.Empty(t, list.GetReferrals())

	// A reason that somebody changed is lost data, and an alert.
	h.sql("UPDATE referrals SET reason = set_byte(reason, 20, get_byte(reason, 20) # 1)")
	events = h.since(func() {
		_, err = client.ListReferrals(h.as(other), &recordsv1.ListReferralsRequest{})
		require.Equal(t, codes.DataLoss, status.Code(err))
	})
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, events[len(events)-1].GetRisk())
}
