package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

func TestDH53_WhatDoesHarmIsCutOffAndReleased(t *testing.T) {
	g := signedIn(t)
	cut := &authv1.Containment{Name: "containments/" + someID, Practice: "practices/" + someID, Reason: "drill", Creator: "users/" + someID, CreateTime: timestamppb.New(epoch), EffectiveTime: timestamppb.New(epoch)}
	waits := &authv1.Containment{Name: "containments/" + someID, Service: accessv1.Service_SERVICE_RECORDS, Reason: "it leaks", Detection: someID, CreateTime: timestamppb.New(epoch)}
	reply := cut
	var create authv1.CreateContainmentRequest
	asked(t, g, "POST /v1/containments", &create, func() proto.Message { return reply })
	g.on(t, "GET /v1/containments", func(w http.ResponseWriter, r *http.Request) {
		page := &authv1.ListContainmentsResponse{Containments: []*authv1.Containment{cut}}
		if r.URL.Query().Get("pageToken") == "" {
			page = &authv1.ListContainmentsResponse{Containments: []*authv1.Containment{waits}, NextPageToken: "more"}
		}
		answer(w, page)
	})
	var release authv1.ReleaseContainmentRequest
	released := asked(t, g, "POST /v1/containments/"+someID+":release", &release, func() proto.Message { return cut })
	approved := asked(t, g, "POST /v1/containments/"+someID+":approve", &authv1.ApproveContainmentRequest{}, func() proto.Message { return waits })

	got := g.run(t, "drill\n", "contain", "practice", someID)
	require.Zero(t, got.code, got.err)
	require.True(t, proto.Equal(&authv1.CreateContainmentRequest{Practice: "practices/" + someID, Reason: "drill"}, &create), "%v", &create)
	require.Contains(t, got.out, "containments/"+someID+"  practices/"+someID+"  users/"+someID+"  2026-11-21 13:04:22  2026-11-21 13:04:22  -               drill\n")
	reply = waits
	got = g.run(t, "it leaks\n", "contain", "service", "records")
	require.Zero(t, got.code, got.err)
	require.Equal(t, accessv1.Service_SERVICE_RECORDS, create.GetService())
	require.Contains(t, got.err, "waits for another superadmin")
	require.NotZero(t, g.run(t, "x\n", "contain", "service", "auth").code)
	got = g.run(t, "\n", "contain", "practice", someID)
	require.Contains(t, got.err, "no reason given")
	require.Zero(t, g.run(t, "", "contain", "approve", "containments/"+someID).code)
	require.Equal(t, 1, *approved)
	got = g.run(t, "", "contain", "list")
	require.Contains(t, got.out, "records")
	require.Contains(t, got.out, "detections/"+someID)
	require.Contains(t, got.out, "practices/"+someID)

	for n, args := range [][]string{{"release", "practice", someID}, {"release", "service", "records"}} {
		got = g.run(t, "over\n", args...)
		require.Zero(t, got.code, got.err)
		require.Equal(t, n+1, *released)
		require.Equal(t, "over", release.GetReason())
	}
	got = g.run(t, "over\n", "release", "service", "backup")
	require.Contains(t, got.err, "not cut off")
}

func TestDH51_UsersAndAddressesAreContained(t *testing.T) {
	g := signedIn(t)
	var user authv1.ContainUserRequest
	asked(t, g, "POST /v1/users/"+someID+":contain", &user, func() proto.Message { return &authv1.ContainUserResponse{Ended: 2} })
	var address authv1.ContainAddressRequest
	asked(t, g, "POST /v1/blocks:contain", &address, func() proto.Message {
		return &authv1.ContainAddressResponse{Network: "192.0.2.7", ExpireTime: timestamppb.New(epoch)}
	})
	thawed := asked(t, g, "POST /v1/users/"+someID+":thaw", &authv1.ThawUserRequest{}, func() proto.Message { return &authv1.ThawUserResponse{} })
	var lift authv1.LiftBlockRequest
	asked(t, g, "POST /v1/blocks:lift", &lift, func() proto.Message { return &authv1.LiftBlockResponse{} })

	got := g.run(t, "stolen phone\n", "contain", "user", "users/"+someID)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "2 sessions ended")
	require.Equal(t, "stolen phone", user.GetReason())
	got = g.run(t, "scans\n", "contain", "address", "192.0.2.7", "--hours", "3")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.err, "192.0.2.7 is blocked until 2026-11-21 13:04:22 UTC")
	require.True(t, proto.Equal(&authv1.ContainAddressRequest{Address: "192.0.2.7", Hours: 3, Reason: "scans"}, &address), "%v", &address)
	require.Zero(t, g.run(t, "", "release", "user", someID).code)
	require.Equal(t, 1, *thawed)
	require.Zero(t, g.run(t, "", "release", "address", "192.0.2.7").code)
	require.Equal(t, "192.0.2.7", lift.GetNetwork())
}
