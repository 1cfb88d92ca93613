package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestDTD07_CompletenessAsksDayByDayAndTellsDifferences(t *testing.T) {
	g := signedIn(t)
	var asked []string
	stored := int64(5)
	g.on(t, "GET /v1/audit/completeness", func(w http.ResponseWriter, r *http.Request) {
		from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("fromTime"))
		to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("toTime"))
		asked = append(asked, to.Sub(from).String())
		answer(w, &auditv1.Completeness{
			FromTime: timestamppb.New(from), ToTime: timestamppb.New(to), JobRuns: 3,
			Methods: []*auditv1.MethodCompleteness{
				{Service: accessv1.Service_SERVICE_RECORDS, Method: "/carekeep.records.v1.RecordsService/GetPatient", Served: 5, Stored: stored},
				{Service: accessv1.Service_SERVICE_AUTH, Served: 2, Stored: 2},
			},
		})
	})
	got := g.run(t, "", "audit", "completeness", "--from", "2026-11-20", "--to", "2026-11-22T12:00:00Z")
	require.Zero(t, got.code, got.err)
	require.Equal(t, []string{"24h0m0s", "24h0m0s", "12h0m0s"}, asked)
	require.Contains(t, got.out, "served        7  stored        7\n")
	require.Contains(t, got.out, "(no such method)")
	for n, note := range map[int64]string{4: "1 not in the log", 7: "2 that nobody counted"} {
		stored = n
		got = g.run(t, "", "audit", "completeness", "--from", "2026-11-20", "--to", "2026-11-21")
		require.Equal(t, 1, got.code)
		require.Contains(t, got.out, note)
	}
	require.NotZero(t, g.run(t, "", "audit", "completeness", "--from", "soon", "--to", "2026-11-21").code)
}
