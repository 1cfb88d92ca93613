package app_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

const flipMarks = "UPDATE watch_lists SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)"

func withReason(events []*auditv1.Event, reason string, risk auditv1.Risk) (out []*auditv1.Event) {
	for _, e := range events {
		if e.GetReason() == reason && e.GetRisk() == risk {
			out = append(out, e)
		}
	}
	return out
}

// A list of marks that does not open stops no care (claim K8): charts open, each access is of high risk meanwhile, the
// alarm is raised once and not for each request, and what the replica knew of the marks goes on.
func TestK8_CareGoesOnWhileTheMarksDoNotOpen(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner, officer, whole := h.doctor(), h.officer(), h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	vip, decoy, other := h.file(owner), h.file(owner), h.file(owner)
	_, err := h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: vip.patient, Vip: true})
	require.NoError(t, err)
	h.arm(decoy, true)
	get := func(u *user, f file, ok codes.Code) *auditv1.Event {
		events := h.since(func() {
			_, err := h.client.GetPatient(h.as(u), &recordsv1.GetPatientRequest{Name: f.patient})
			require.Equal(t, ok, status.Code(err), "%v", err)
		})
		events = slices.DeleteFunc(events, func(e *auditv1.Event) bool { return e.GetAction() == accessv1.Action_ACTION_KEY_UNWRAP })
		return events[len(events)-1]
	}
	alarms := func(f func()) int {
		return len(withReason(h.since(f), "WATCH_LIST_BROKEN", auditv1.Risk_RISK_CRITICAL))
	}
	h.sql(flipMarks)
	require.Equal(t, 1, alarms(func() {
		for range 5 {
			h.pass(time.Minute)
			e := get(owner, other, codes.OK)
			require.Equal(t, auditv1.Risk_RISK_HIGH, e.GetRisk())
			require.Equal(t, "WATCH_LIST_BROKEN", e.GetReason())
		}
		require.Equal(t, "VIP_ACCESS", get(owner, vip, codes.OK).GetReason())
		get(whole, vip, codes.NotFound)
		curious := h.doctor()
		get(curious, decoy, codes.NotFound)
		require.True(t, auth.froze(curious))
	}))
	require.Equal(t, 1, alarms(func() {
		h.pass(10 * time.Minute)
		get(owner, other, codes.OK)
	}), "it is raised again as long as it lasts")

	// A process that started since knows no marks, and holds every access for one to somebody who is watched.
	h.restart()
	require.Equal(t, 1, alarms(func() {
		require.Equal(t, auditv1.Risk_RISK_HIGH, get(whole, vip, codes.OK).GetRisk())
		list := h.since(func() {
			_, err := h.client.ListPatients(h.as(owner), &recordsv1.ListPatientsRequest{})
			require.NoError(t, err)
		})
		require.NotEmpty(t, list)
		for _, e := range list {
			if e.GetAction() != accessv1.Action_ACTION_KEY_UNWRAP {
				require.Equal(t, auditv1.Risk_RISK_HIGH, e.GetRisk())
			}
		}
	}))
	_, err = h.marks().ListVips(h.as(officer), &recordsv1.ListVipsRequest{})
	require.Equal(t, "WATCH_LIST_BROKEN", errs.ReasonOf(err), "who asks for the marks is not told that there are none")

	h.sql(flipMarks) // the row as it was
	h.pass(time.Minute)
	require.Equal(t, auditv1.Risk_RISK_LOW, get(owner, other, codes.OK).GetRisk())
	vips, err := h.marks().ListVips(h.as(officer), &recordsv1.ListVipsRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{vip.patient}, vips.GetPatients())
}

// A list that does not open, or whose key is gone, is replaced by setting marks anew, which is a critical event.
// To take a mark back replaces nothing.
func TestBrokenMarksAreSetAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, officer := h.doctor(), h.officer()
	first, second := h.file(owner), h.file(owner)
	set := func(f file, vip bool) ([]*auditv1.Event, error) {
		var err error
		return h.since(func() {
			_, err = h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: f.patient, Vip: vip})
		}), err
	}
	events, err := set(first, true)
	require.NoError(t, err)
	require.Empty(t, withReason(events, "WATCH_LIST_REPLACED", auditv1.Risk_RISK_CRITICAL))
	for _, damage := range []string{flipMarks, "UPDATE watch_lists SET key_id = gen_random_uuid()"} {
		h.sql(damage)
		h.pass(time.Minute)
		_, err = set(first, false)
		require.Equal(t, "WATCH_LIST_BROKEN", errs.ReasonOf(err))
		events, err = set(second, true)
		require.NoError(t, err)
		require.Len(t, withReason(events, "WATCH_LIST_REPLACED", auditv1.Risk_RISK_CRITICAL), 1)
		h.restart()
		vips, err := h.marks().ListVips(h.as(officer), &recordsv1.ListVipsRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{second.patient}, vips.GetPatients())
		events = h.since(func() {
			_, err := h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: first.patient})
			require.NoError(t, err)
		})
		require.Equal(t, auditv1.Risk_RISK_LOW, events[len(events)-1].GetRisk(), "the list is whole again")
	}
}
