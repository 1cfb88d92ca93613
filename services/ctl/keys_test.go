package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

func someJob(state recordsv1.KeyJob_State, done, broken int64) *recordsv1.KeyJob {
	return &recordsv1.KeyJob{
		Name: "keyJobs/" + someID, Kind: recordsv1.KeyJob_KIND_REWRAP, State: state, Total: 10, Done: done, Broken: broken,
		CreateTime: timestamppb.New(epoch),
	}
}

func TestDTD20_KeysStatusShowsVersionsAndJobs(t *testing.T) {
	g := signedIn(t)
	g.on(t, "GET /v1/keyStatus", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &recordsv1.KeyStatus{
			Versions: []*recordsv1.KeyStatus_Version{
				{Version: 2, CreateTime: timestamppb.New(epoch), WrappedKeys: 7}, {Version: 3, CreateTime: timestamppb.New(epoch), WrappedKeys: 40},
			},
			MinDecryptionVersion: 2, DataKeys: 46, DataKeysDue: 3, RunningJobs: []*recordsv1.KeyJob{someJob(recordsv1.KeyJob_STATE_RUNNING, 4, 0)},
		})
	})
	got := g.run(t, "", "keys", "status")
	require.Zero(t, got.code, got.err)
	for _, line := range []string{
		"3        2026-11-21 13:04:22  40             -\n", "oldest version that opens      2\n", "data keys due                  3\n",
		"keyJobs/" + someID + " rewrap running: 4 of 10 done, 0 broken\n",
	} {
		require.Contains(t, got.out, line)
	}
}

func TestDTD20_KeysRotateWaitsForTheJob(t *testing.T) {
	g := signedIn(t)
	broken := int64(0)
	g.on(t, "POST /v1/keys:rotate", func(w http.ResponseWriter, _ *http.Request) { answer(w, someJob(recordsv1.KeyJob_STATE_RUNNING, 0, 0)) })
	g.on(t, "POST /v1/keys:rotateDataKey", func(w http.ResponseWriter, r *http.Request) {
		var request recordsv1.RotateDataKeyRequest
		if take(t, r, &request) && request.GetPatient() != "patients/"+someID {
			t.Error("another patient")
		}
		answer(w, someJob(recordsv1.KeyJob_STATE_RUNNING, 0, 0))
	})
	g.on(t, "GET /v1/keyJobs/"+someID, func(w http.ResponseWriter, _ *http.Request) {
		state := recordsv1.KeyJob_STATE_DONE
		if broken > 0 {
			state = recordsv1.KeyJob_STATE_BROKEN
		}
		answer(w, someJob(state, 10, broken))
	})
	got := g.run(t, "", "keys", "rotate")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "keyJobs/"+someID+" rewrap done: 10 of 10 done, 0 broken\n", got.out)
	got = g.run(t, "", "keys", "rotate", "--patient", someID, "--detach")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "keyJobs/"+someID+"\n", got.out)
	broken = 2
	got = g.run(t, "", "keys", "rotate")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "the audit log names it")
	got = g.run(t, "", "keys", "rotate", "--patient", someID, "--directory")
	require.Equal(t, misused, got.code)
}

func TestDTD20_KeysJobsShowsAllPages(t *testing.T) {
	g := signedIn(t)
	g.on(t, "GET /v1/keyJobs", func(w http.ResponseWriter, r *http.Request) {
		page := &recordsv1.ListKeyJobsResponse{Jobs: []*recordsv1.KeyJob{someJob(recordsv1.KeyJob_STATE_DONE, 10, 0)}}
		if r.URL.Query().Get("pageToken") == "" {
			page.NextPageToken = "more"
		}
		answer(w, page)
	})
	got := g.run(t, "", "keys", "jobs")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "keyJobs/"+someID+"  2026-11-21 13:04:22  rewrap done: 10 of 10 done, 0 broken\n")
}
