package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestDH48_RetentionIsPlannedAskedAboutAndRunToTheEnd(t *testing.T) {
	g := signedIn(t)
	cutoff := timestamppb.New(time.Date(2019, 11, 27, 3, 0, 0, 0, time.UTC))
	asked(t, g, "GET /v1/audit/retention", &auditv1.PlanRetentionRequest{}, func() proto.Message {
		return &auditv1.PlanRetentionResponse{Classes: []*auditv1.RetentionClass{
			{Name: "entries", CutoffTime: cutoff, Due: 41000, Spared: 12}, {Name: "events", CutoffTime: cutoff, Due: 7},
		}}
	})
	more := true
	runs := asked(t, g, "POST /v1/audit/retention:run", &auditv1.RunRetentionRequest{}, func() proto.Message {
		defer func() { more = false }()
		if more {
			return &auditv1.RunRetentionResponse{Deleted: 40000, More: true}
		}
		return &auditv1.RunRetentionResponse{Deleted: 1007, Months: []string{"2019-10"}}
	})

	got := g.run(t, "", "audit", "retention", "--dry-run")
	require.Zero(t, got.code, got.err)
	require.Equal(t, `CLASS    APPENDED BEFORE (UTC)  DUE    SPARED
entries  2019-11-27 03:00:00    41000  12
events   2019-11-27 03:00:00    7      0
the daily job only reports: retention.mode is report
`, got.out)
	got = g.run(t, "41000\n", "audit", "retention")
	require.Equal(t, failed, got.code, "another number")
	require.Zero(t, *runs, "nothing is deleted before it is confirmed")
	got = g.run(t, "41007\n", "audit", "retention")
	require.Zero(t, got.code, got.err)
	require.Equal(t, 2, *runs)
	require.Contains(t, got.out, "41007 entries deleted\nnothing is left of 2019-10\n")
}

func TestHoldsOnTheLogArePlacedListedAndReleased(t *testing.T) {
	g := signedIn(t)
	hold := &auditv1.LogHold{
		Name: "logHolds/" + someID, Practice: "practices/" + someID, Reference: "24-1180", PlaceTime: timestamppb.New(time.Date(2026, 11, 21, 13, 4, 22, 0, time.UTC)),
	}
	var place auditv1.PlaceLogHoldRequest
	asked(t, g, "POST /v1/logHolds", &place, func() proto.Message { return hold })
	asked(t, g, "GET /v1/logHolds", &auditv1.ListLogHoldsRequest{}, func() proto.Message {
		return &auditv1.ListLogHoldsResponse{LogHolds: []*auditv1.LogHold{hold, {Name: "logHolds/" + someID, Reference: "all"}}}
	})
	released := asked(t, g, "POST /v1/logHolds/"+someID+":release", &auditv1.ReleaseLogHoldRequest{}, func() proto.Message { return hold })
	got := g.run(t, "", "audit", "holds", "place", "--practice", someID, "--reference", "24-1180")
	require.Zero(t, got.code, got.err)
	require.True(t, proto.Equal(&auditv1.PlaceLogHoldRequest{Practice: hold.Practice, Reference: "24-1180"}, &place), "%v", &place)
	got = g.run(t, "", "audit", "holds", "place", "--all", "--reference", "x", "--json")
	require.Zero(t, got.code, got.err)
	require.Empty(t, place.GetPractice())
	for _, args := range [][]string{{"--reference", "x"}, {"--all"}, {"--all", "--practice", someID, "--reference", "x"}} {
		require.Equal(t, misused, g.run(t, "", append([]string{"audit", "holds", "place"}, args...)...).code, args)
	}
	got = g.run(t, "", "audit", "holds", "list")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "practices/"+someID)
	require.Contains(t, got.out, "the whole log")
	got = g.run(t, "", "audit", "holds", "release", hold.Name)
	require.Zero(t, got.code, got.err)
	require.Equal(t, 1, *released)
}
