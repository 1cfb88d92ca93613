package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestDC24_TheRadiusIsPrintedAndItsEndIsMissed(t *testing.T) {
	g := signedIn(t)
	whole := true
	g.on(t, "POST /v1/incidents:computeRadius", func(w http.ResponseWriter, r *http.Request) {
		var got auditv1.ComputeRadiusRequest
		if take(t, r, &got) && (got.GetQuery().GetSessionId() != someID || got.GetQuery().GetFromTime() == nil) {
			t.Errorf("%v", &got)
		}
		at := timestamppb.New(epoch)
		patient := &auditv1.ComputeRadiusResponse{Item: &auditv1.ComputeRadiusResponse_Patient{Patient: &auditv1.ExposedPatient{
			Patient: "patients/" + someID, Resources: []*auditv1.ExposedResource{
				{Name: "notes/1", Fields: []string{"Note.text", "Note.title"}, Accesses: 2, FirstTime: at, LastTime: at, Entries: &auditv1.EvidenceRange{FromSeq: 3, ToSeq: 9}},
				{Name: "Observation/2", Whole: true, Accesses: 1, FirstTime: at, LastTime: at, Entries: &auditv1.EvidenceRange{FromSeq: 4, ToSeq: 4}},
			},
		}}}
		if !whole {
			results(w, nil, patient)
			return
		}
		results(w, nil, patient, &auditv1.ComputeRadiusResponse{Item: &auditv1.ComputeRadiusResponse_Summary{Summary: &auditv1.RadiusSummary{
			Patients: 1, Accesses: 3, LogSize: 100, Entries: &auditv1.EvidenceRange{FromSeq: 3, ToSeq: 9}, Unknown: []string{"which"},
		}}})
	})
	got := g.run(t, "", "incidents", "radius", "--of-session", "sessions/"+someID, "--from", "36h")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "3-9      Note.text Note.title\n")
	require.Contains(t, got.out, "4-4      all of it\n")
	require.Contains(t, got.err, "1 patients in 3 accesses")
	require.Contains(t, got.err, "what the log cannot tell: which")
	whole = false
	got = g.run(t, "", "incidents", "radius", "--of-session", someID, "--from", "36h")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "ended early")
}
