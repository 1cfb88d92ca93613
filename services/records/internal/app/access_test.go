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
	"github.com/carekeep/carekeep/services/records/internal/app"
)

// Whose time on the care team is over or still to come sees what a random id shows; so do
// the staff who act for them.
func TestDH55_TimeOnTheCareTeamHasABeginningAndAnEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.doctor(), h.doctor()
	f := h.file(one)
	staff := h.receptionist(two)
	see := func(u *user) (read codes.Code, listed int) {
		_, err := h.client.GetPatient(h.as(u), &recordsv1.GetPatientRequest{Name: f.patient})
		list, failed := h.client.ListPatients(h.as(u), &recordsv1.ListPatientsRequest{})
		require.NoError(t, failed)
		return status.Code(err), len(list.GetPatients())
	}
	now := time.Now()
	for name, c := range map[string]struct {
		start, end time.Duration // 0: no bound
		sees       bool
	}{
		"ended":      {-2 * time.Hour, -time.Hour, false},
		"not yet":    {time.Hour, 0, false},
		"now":        {-time.Hour, time.Hour, true},
		"not before": {-time.Hour, 0, true},
		"not after":  {0, time.Hour, true},
	} {
		request := &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: "users/" + two.User.String()}
		if c.start != 0 {
			request.StartTime = timestamppb.New(now.Add(c.start))
		}
		if c.end != 0 {
			request.EndTime = timestamppb.New(now.Add(c.end))
		}
		team, err := h.client.AddCareTeamMember(h.as(one), request)
		require.NoError(t, err)
		require.Len(t, team.GetMembers(), 2)
		for _, m := range team.GetMembers() {
			if m.GetUser() == request.GetUser() {
				require.Equal(t, c.start != 0, m.GetStartTime() != nil, name)
				require.Equal(t, c.end != 0, m.GetEndTime() != nil, name)
			}
		}
		want, listed := codes.NotFound, 0
		if c.sees {
			want, listed = codes.OK, 1
			require.Len(t, team.GetUsers(), 2, name)
		}
		for _, u := range []*user{two, staff} {
			read, n := see(u)
			require.Equal(t, want, read, name)
			require.Equal(t, listed, n, name)
		}
	}
	_, err := h.client.AddCareTeamMember(h.as(one), &recordsv1.AddCareTeamMemberRequest{
		Name: f.patient + "/careTeam", User: "users/" + two.User.String(),
		StartTime: timestamppb.New(now), EndTime: timestamppb.New(now.Add(-time.Second)),
	})
	require.Equal(t, "PERIOD_INVALID", errs.ReasonOf(err))
}

// designated is a doctor of the house who may break the glass, with two factors just proved.
func (h *house) designated() *user {
	h.t.Helper()
	u := h.doctor()
	u.Authenticated = time.Now().Truncate(time.Second)
	_, err := h.access.DesignateGlassUser(h.as(h.administrator(accessv1.Permission_PERMISSION_GLASS_DESIGNATE)),
		&recordsv1.DesignateGlassUserRequest{User: "users/" + u.User.String()})
	require.NoError(h.t, err)
	return u
}

const emergency = "Found unconscious, allergies unknown."

func breakGlass(f file) *recordsv1.BreakGlassRequest {
	return &recordsv1.BreakGlassRequest{Patient: f.patient, Reason: emergency}
}

// The glass opens one patient to one user for an hour at most; it is an alert, and every
// access under it is marked. (45 CFR 164.312(a)(2)(ii))
func TestBreakGlassOpensOnePatientForAnHour(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, helper := h.doctor(), h.designated()
	f, other := h.file(owner), h.file(owner)
	read := func(u *user, name string) codes.Code {
		_, err := h.client.GetNote(h.as(u), &recordsv1.GetNoteRequest{Name: name})
		return status.Code(err)
	}
	require.Equal(t, codes.NotFound, read(helper, f.note))
	var opening *recordsv1.GlassOpening
	events := h.since(func() {
		var err error
		opening, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
		require.NoError(t, err)
	})
	require.Equal(t, time.Hour, opening.GetEndTime().AsTime().Sub(opening.GetOpenTime().AsTime()))
	require.Equal(t, 24*time.Hour, opening.GetReviewDueTime().AsTime().Sub(opening.GetOpenTime().AsTime()))
	last := events[len(events)-1]
	require.Equal(t, accessv1.Action_ACTION_BREAK_GLASS, last.GetAction())
	require.Equal(t, "BREAK_GLASS", last.GetReason())
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, last.GetRisk(), "audit raises an alert on these")
	require.Equal(t, f.patientID, last.GetPatientId())
	require.NotContains(t, last.String(), "unconscious")

	for _, event := range h.since(func() {
		require.Equal(t, codes.OK, read(helper, f.note))
		_, err := h.client.ListNotes(h.as(helper), &recordsv1.ListNotesRequest{Parent: f.patient})
		require.NoError(t, err)
		_, err = h.client.CreateNote(h.as(helper), &recordsv1.CreateNoteRequest{Parent: f.patient, Note: &recordsv1.Note{Text: "Adrenaline."}})
		require.NoError(t, err)
		_, err = h.client.GetResource(h.as(helper), &recordsv1.GetResourceRequest{Type: "DocumentReference", Id: f.noteID})
		require.NoError(t, err)
		_, err = h.client.UpdatePatient(h.as(helper), &recordsv1.UpdatePatientRequest{Patient: &recordsv1.Patient{Name: f.patient, FamilyName: "X", Etag: "v1"}})
		require.True(t, err == nil || errs.ReasonOf(err) == "ETAG_STALE", "%v", err)
	}) {
		if event.GetAction() != accessv1.Action_ACTION_KEY_UNWRAP && event.GetOutcome() == auditv1.Outcome_OUTCOME_OK {
			require.Equal(t, "BREAK_GLASS", event.GetReason(), event)
			require.Equal(t, auditv1.Risk_RISK_HIGH, event.GetRisk())
		}
	}
	// FHIR reads are marked as well, and it changes nothing that way.
	at := "/DocumentReference/" + f.noteID
	var note fhirAnswer
	for _, path := range []string{at, at + "/_history", "/Patient/" + lastPart(f.patient) + "/$everything"} {
		for _, event := range h.since(func() { note = h.fhir(helper, "GET", path, "") }) {
			if event.GetAction() != accessv1.Action_ACTION_KEY_UNWRAP {
				require.Equal(t, "BREAK_GLASS", event.GetReason(), path)
			}
		}
		require.Equal(t, http.StatusOK, note.status, note.body)
	}
	require.Equal(t, http.StatusNotFound, h.fhir(helper, "DELETE", at, "").status)
	require.Equal(t, http.StatusOK, h.fhir(owner, "GET", at, "").status)
	// A request, a token or an export of the patient's rights would outlast the hour.
	_, err := h.desk().ListRightsRequests(h.as(helper), &recordsv1.ListRightsRequestsRequest{Parent: f.patient})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = h.desk().ListRightsRequests(h.as(owner), &recordsv1.ListRightsRequestsRequest{Parent: f.patient})
	require.NoError(t, err)

	marked := h.since(func() { require.Equal(t, codes.OK, read(owner, f.note)) })
	require.Empty(t, marked[0].GetReason(), "the care team's accesses are not marked")

	// Nobody else, no other patient, no list, and nothing that would outlast the hour.
	require.Equal(t, codes.NotFound, read(helper, other.note))
	_, err = h.client.GetPatient(h.as(h.receptionist(helper)), &recordsv1.GetPatientRequest{Name: f.patient})
	require.Equal(t, codes.NotFound, status.Code(err), "not who acts for the helper")
	list, err := h.client.ListPatients(h.as(helper), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetPatients())
	_, err = h.client.AddCareTeamMember(h.as(helper), &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: "users/" + helper.User.String()})
	require.Equal(t, "NOT_THROUGH_GLASS", errs.ReasonOf(err))
	_, err = h.client.DeletePatient(h.as(helper), &recordsv1.DeletePatientRequest{Name: f.patient})
	require.Equal(t, "NOT_THROUGH_GLASS", errs.ReasonOf(err))
	_, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.Equal(t, "GLASS_NEEDLESS", errs.ReasonOf(err), "an open glass is not broken again to have more time")

	h.sql("UPDATE glass_openings SET opened_at = opened_at - interval '60 minutes', ends_at = ends_at - interval '60 minutes'")
	require.Equal(t, codes.NotFound, read(helper, f.note), "after an hour it is over")

	again, err := h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)
	require.Equal(t, codes.OK, read(helper, f.note))
	_, err = h.access.EndGlass(h.as(h.designated()), &recordsv1.EndGlassRequest{Name: again.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err), "nobody ends another's")
	ended, err := h.access.EndGlass(h.as(helper), &recordsv1.EndGlassRequest{Name: again.GetName()})
	require.NoError(t, err)
	require.True(t, ended.GetEndTime().AsTime().Before(again.GetEndTime().AsTime()))
	require.Equal(t, codes.NotFound, read(helper, f.note), "it can be ended early")

	// The table itself holds to the hour and to one who reviews.
	for _, sql := range []string{
		"UPDATE glass_openings SET ends_at = opened_at + interval '61 minutes'",
		"UPDATE glass_openings SET reviewed_at = now(), reviewed_by = user_id, finding = 1",
	} {
		require.Error(t, h.try(sql), sql)
	}
}

// Who is not designated, or has not just proved two factors, breaks no glass; and where the
// access cannot be recorded nobody does. No service but the key service is asked: none other runs here.
func TestBreakGlassIsForTheDesignatedWithFreshFactorsAndNeverUnrecorded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, helper := h.doctor(), h.designated()
	f := h.file(owner)
	closed := func(why string) {
		t.Helper()
		_, err := h.client.GetNote(h.as(helper), &recordsv1.GetNoteRequest{Name: f.note})
		require.Equal(t, codes.NotFound, status.Code(err), why)
	}
	refused := func(u *user, reason string) {
		t.Helper()
		events := h.since(func() {
			_, err := h.access.BreakGlass(h.as(u), breakGlass(f))
			require.Equal(t, reason, errs.ReasonOf(err))
		})
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[len(events)-1].GetOutcome())
	}
	stranger := h.doctor()
	stranger.Authenticated = helper.Authenticated
	refused(stranger, "NOT_DESIGNATED")
	for _, proved := range []time.Time{{}, time.Now().Add(-6 * time.Minute).Truncate(time.Second)} {
		stale := *helper
		stale.Authenticated = proved
		refused(&stale, "REAUTHENTICATE")
	}
	short := breakGlass(f)
	short.Reason = "why not"
	_, err := h.access.BreakGlass(h.as(helper), short)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	long := breakGlass(f)
	long.Minutes = 61
	_, err = h.access.BreakGlass(h.as(helper), long)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = h.access.BreakGlass(h.as(helper), breakGlass(nowhere()))
	require.Equal(t, codes.NotFound, status.Code(err))
	closed("every attempt was refused")

	h.sql("REVOKE INSERT ON outbox FROM records_app")
	_, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.Error(t, err)
	h.sql("GRANT INSERT ON outbox TO records_app")
	closed("an opening that cannot be recorded is none")

	_, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)
	_, err = h.access.WithdrawGlassUser(h.as(h.administrator(accessv1.Permission_PERMISSION_GLASS_DESIGNATE)),
		&recordsv1.WithdrawGlassUserRequest{Name: "glassUsers/" + helper.User.String()})
	require.NoError(t, err)
	closed("what a user has open ends with the designation")
	refused(helper, "NOT_DESIGNATED")
}

// Somebody else reviews within 24 hours, or the audit log hears of it, once.
func TestBreakGlassIsReviewedBySomebodyElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	helper := h.designated()
	f := h.file(h.doctor())
	opening, err := h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)
	require.NotContains(t, h.dumped("glass_openings"), "unconscious", "the reason is sealed")

	officer := h.administrator(accessv1.Permission_PERMISSION_GLASS_REVIEW)
	officer.Purpose = accessv1.Purpose_PURPOSE_OPERATIONS
	open := func() []*recordsv1.GlassOpening {
		list, err := h.access.ListGlassOpenings(h.as(officer), &recordsv1.ListGlassOpeningsRequest{})
		require.NoError(t, err)
		return list.GetOpenings()
	}
	require.Equal(t, emergency, open()[0].GetReason())

	require.NoError(t, app.LookForOverdue(h.app, t.Context()))
	require.Empty(t, h.alerts("GLASS_REVIEW_OVERDUE"), "there is time yet")
	h.sql("UPDATE glass_openings SET opened_at = opened_at - interval '25 hours', ends_at = ends_at - interval '25 hours'")
	for range 2 {
		require.NoError(t, app.LookForOverdue(h.app, t.Context()))
	}
	overdue := h.alerts("GLASS_REVIEW_OVERDUE")
	require.Len(t, overdue, 1)
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, overdue[0].GetRisk())
	require.Equal(t, h.practice.String(), overdue[0].GetPracticeId())

	review := &recordsv1.ReviewGlassRequest{Name: opening.GetName(), Finding: recordsv1.GlassFinding_GLASS_FINDING_UNJUSTIFIED}
	_, err = h.access.ReviewGlass(h.as(helper), review)
	require.Equal(t, "OWN_OPENING", errs.ReasonOf(err))
	reviewed, err := h.access.ReviewGlass(h.as(officer), review)
	require.NoError(t, err)
	require.Equal(t, "users/"+officer.User.String(), reviewed.GetReviewer())
	require.Len(t, h.alerts("GLASS_UNJUSTIFIED"), 1)
	require.Empty(t, open())
	_, err = h.access.ReviewGlass(h.as(officer), review)
	require.Equal(t, "ALREADY_REVIEWED", errs.ReasonOf(err))
}

// No RPC of AccessService reaches another practice's patients, openings or users.
func TestDMD06_AccessServiceKeepsPracticesApart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	helper := h.designated()
	f := h.file(h.doctor())
	opening, err := h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)

	home := h.practice
	h.practice = uuid.New()
	defer func() { h.practice = home }()
	foreign := h.designated()
	officer := h.administrator(accessv1.Permission_PERMISSION_GLASS_REVIEW, accessv1.Permission_PERMISSION_GLASS_DESIGNATE)
	_, err = h.access.BreakGlass(h.as(foreign), breakGlass(f))
	require.Equal(t, codes.NotFound, status.Code(err))
	for _, u := range []*user{foreign, {helper.Caller}} {
		u.Practice = h.practice
		_, err = h.access.EndGlass(h.as(u), &recordsv1.EndGlassRequest{Name: opening.GetName()})
		require.Equal(t, codes.NotFound, status.Code(err))
	}
	_, err = h.access.ReviewGlass(h.as(officer), &recordsv1.ReviewGlassRequest{Name: opening.GetName(), Finding: recordsv1.GlassFinding_GLASS_FINDING_JUSTIFIED})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = h.access.WithdrawGlassUser(h.as(officer), &recordsv1.WithdrawGlassUserRequest{Name: "glassUsers/" + helper.User.String()})
	require.Equal(t, codes.NotFound, status.Code(err))
	list, err := h.access.ListGlassOpenings(h.as(officer), &recordsv1.ListGlassOpeningsRequest{Reviewed: true})
	require.NoError(t, err)
	require.Empty(t, list.GetOpenings())
	users, err := h.access.ListGlassUsers(h.as(officer), &recordsv1.ListGlassUsersRequest{})
	require.NoError(t, err)
	require.Len(t, users.GetUsers(), 1)
	require.Equal(t, "glassUsers/"+foreign.User.String(), users.GetUsers()[0].GetName())
	_, err = h.access.DesignateGlassUser(h.as(officer), &recordsv1.DesignateGlassUserRequest{User: "users/" + officer.User.String()})
	require.Equal(t, "OWN_DESIGNATION", errs.ReasonOf(err))
}

// try runs a statement as the superuser and returns its error.
func (h *house) try(sql string) error {
	conn, err := h.db.AdminConn(h.t.Context(), h.database)
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(h.t.Context()) }()
	_, err = conn.Exec(h.t.Context(), sql)
	return err
}

// dumped is all that a table holds, as text.
func (h *house) dumped(table string) string {
	var out string
	for _, row := range h.sql("SELECT t::text || encode(reason, 'escape') FROM " + table + " t") {
		out += row[0].(string)
	}
	return out
}

// alerts are the events with the reason.
func (h *house) alerts(reason string) (out []*auditv1.Event) {
	for _, e := range h.events() {
		if e.GetReason() == reason {
			out = append(out, e)
		}
	}
	return out
}
