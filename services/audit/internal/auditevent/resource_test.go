package auditevent_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/devkit/golden"
	"github.com/carekeep/carekeep/services/audit/internal/auditevent"
)

// Every action and outcome. services/records holds the golden resources against R4.
func TestDH34_GoldenAuditEvents(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, c := range []struct {
		action  accessv1.Action
		outcome auditv1.Outcome
		change  func(*auditv1.Event)
	}{
		{accessv1.Action_ACTION_READ, auditv1.Outcome_OUTCOME_OK, func(e *auditv1.Event) { e.Resource = "notes/0194c9a0-0000-7000-8000-000000000002" }},
		{accessv1.Action_ACTION_READ, auditv1.Outcome_OUTCOME_DENIED, func(e *auditv1.Event) { e.Reason, e.Purpose = "NOT_ON_CARE_TEAM", accessv1.Purpose_PURPOSE_PAYMENT }},
		{accessv1.Action_ACTION_SEARCH, auditv1.Outcome_OUTCOME_OK, func(*auditv1.Event) {}},
		{accessv1.Action_ACTION_CREATE, auditv1.Outcome_OUTCOME_OK, func(e *auditv1.Event) { e.Address = "" }},
		{accessv1.Action_ACTION_UPDATE, auditv1.Outcome_OUTCOME_FAILED, func(*auditv1.Event) {}},
		{accessv1.Action_ACTION_DELETE, auditv1.Outcome_OUTCOME_OK, func(*auditv1.Event) {}},
		{accessv1.Action_ACTION_BREAK_GLASS, auditv1.Outcome_OUTCOME_OK, func(*auditv1.Event) {}},
		{accessv1.Action_ACTION_ALERT, auditv1.Outcome_OUTCOME_OK, func(e *auditv1.Event) {
			e.PatientId, e.UserId, e.Username, e.PracticeId, e.Caller, e.Address = "", "", "", "", 0, ""
		}},
	} {
		e := &auditv1.Event{
			EventId: "0194c9a0-0000-7000-8000-000000000001", EventTime: timestamppb.New(time.Date(2026, 3, 1, 13, 4, 22, 123_456_000, time.UTC)),
			PracticeId: "0194c9a0-0000-7000-8000-00000000000a", UserId: "0194c9a0-0000-7000-8000-000000000051", Username: "dr.smith",
			Service: accessv1.Service_SERVICE_RECORDS, Caller: accessv1.Service_SERVICE_GATEWAY, Action: c.action, Outcome: c.outcome,
			PatientId: "0194c9a0-0000-7000-8000-0000000000f1", Address: "192.0.2.7", Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
		}
		c.change(e)
		proof := &auditevent.Proof{Seq: 7, Size: 9, Leaf: bytes.Repeat([]byte{1}, 32), Hashes: [][]byte{bytes.Repeat([]byte{2}, 32)}, Event: []byte("x"), Salt: []byte("y")}
		raw, err := json.Marshal(auditevent.Resource(&auditv1.Entry{Seq: 7, Event: e}, proof))
		require.NoError(t, err)
		lines = append(lines, string(raw))
	}
	golden.Lines(t, "resources", lines)
}

// Whether a patient is watched or a decoy is in no resource, nor in the bytes that its proof is of.
func TestDH34_NoResourceTellsWhoIsWatched(t *testing.T) {
	t.Parallel()
	show := func(reason string) string {
		e := &auditv1.Event{Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK, Reason: reason}
		raw, err := json.Marshal(auditevent.Resource(&auditv1.Entry{Event: e}, &auditevent.Proof{Leaf: []byte("leaf"), Event: []byte("bytes"), Salt: []byte("salt")}))
		require.NoError(t, err)
		return string(raw)
	}
	marked, err := json.Marshal(auditevent.Resource(&auditv1.Entry{Event: &auditv1.Event{
		Action: accessv1.Action_ACTION_WATCH_CHANGE, Reason: "DECOY_ARMED", PatientId: "p", Resource: "patients/p/decoy",
	}}, &auditevent.Proof{Leaf: []byte("leaf"), Event: []byte("bytes")}))
	require.NoError(t, err)
	for _, word := range []string{"WATCH", "DECOY", "decoy", `"event"`} {
		require.NotContains(t, string(marked), word)
	}
	for _, reason := range []string{"VIP_ACCESS", "DECOY_TOUCHED", "HONEYPATIENT"} {
		require.NotContains(t, show(reason), "outcomeDesc")
		require.NotContains(t, show(reason), `"event"`)
		require.NotContains(t, show(reason), `"salt"`)
		require.Contains(t, show(reason), `"leafHash"`)
	}
	require.Contains(t, show("BREAK_GLASS"), `"outcomeDesc":"BREAK_GLASS"`)
	require.Contains(t, show("BREAK_GLASS"), `"event"`)
}

// The five codes of FHIR share out all actions.
func TestEveryActionHasOneCode(t *testing.T) {
	t.Parallel()
	seen := map[accessv1.Action]int{}
	for _, code := range []string{"C", "R", "U", "D", "E"} {
		for _, a := range auditevent.Actions(code) {
			seen[a]++
		}
	}
	require.Len(t, seen, len(accessv1.Action_name)-1)
	for a, n := range seen {
		require.Equal(t, 1, n, a)
	}
	require.Empty(t, auditevent.Actions("X"))
}
