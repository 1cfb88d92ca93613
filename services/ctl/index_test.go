package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

func someIndex(states ...recordsv1.SearchIndex_State) *recordsv1.SearchIndex {
	x := &recordsv1.SearchIndex{}
	for i, state := range states {
		x.Generations = append(x.Generations, &recordsv1.SearchIndex_Generation{
			Number: int32(i + 1), State: state, Region: "US", Phonetics: i == 1, Done: 3, Total: 9, CreateTime: timestamppb.New(epoch),
		})
	}
	return x
}

func TestIndexRebuildWaitsUntilTheNewOneIsLiveAlone(t *testing.T) {
	g := signedIn(t)
	var asked recordsv1.RebuildSearchIndexRequest
	g.on(t, "POST /v1/searchIndex:rebuild", func(w http.ResponseWriter, r *http.Request) {
		if take(t, r, &asked) {
			answer(w, someIndex(recordsv1.SearchIndex_STATE_LIVE, recordsv1.SearchIndex_STATE_BUILDING))
		}
	})
	looks := 0
	g.on(t, "GET /v1/searchIndex", func(w http.ResponseWriter, _ *http.Request) {
		if looks++; looks == 1 {
			answer(w, someIndex(recordsv1.SearchIndex_STATE_DROPPING, recordsv1.SearchIndex_STATE_LIVE))
			return
		}
		answer(w, someIndex(recordsv1.SearchIndex_STATE_LIVE))
	})
	got := g.run(t, "", "index", "rebuild", "--phonetics", "on", "--region", "GB")
	require.Zero(t, got.code, got.err)
	require.Equal(t, 2, looks)
	require.True(t, asked.GetPhonetics())
	require.Equal(t, "GB", asked.GetRegion())
	require.Contains(t, got.out, "1           live   US      off        2026-11-21 13:04:22  -           3 of 9, 0 broken\n")

	got = g.run(t, "", "index", "rebuild", "--detach")
	require.Zero(t, got.code, got.err)
	require.Nil(t, asked.Phonetics, "left as it is")
	require.Contains(t, got.out, "building  US      on")
	got = g.run(t, "", "index", "rebuild", "--phonetics", "perhaps")
	require.Equal(t, misused, got.code)
	got = g.run(t, "", "index", "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "GENERATION")
}

func TestIndexLeakageFailsBeyondTheBudget(t *testing.T) {
	g := signedIn(t)
	over := false
	g.on(t, "POST /v1/searchIndex:measureLeakage", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &recordsv1.LeakageReport{Generation: 1, OverBudget: over, Indexes: []*recordsv1.LeakageReport_Index{
			{Name: "phone", Entries: 2000, Tokens: 1990, MostFrequent: 11, Allowed: 10, AllowedShare: 0.01, OverBudget: over},
		}})
	})
	got := g.run(t, "", "index", "leakage")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "phone  2000     1990    11             10       0.0055  0.0100              within\n")
	over = true
	got = g.run(t, "", "index", "leakage")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.out, "OVER")
	require.Contains(t, got.err, "can be told by counting")
}
