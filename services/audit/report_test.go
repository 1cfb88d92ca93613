package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
)

// extension is what a reader of FHIR sees of one.
type extension struct {
	URL       string
	ValueText string `json:"valueString"`
	Value     []byte `json:"valueBase64Binary"`
	Extension []extension
}

// bundle is what a reader of FHIR sees of a report.
type bundle struct {
	Meta struct{ Extension []extension }
	Link []struct{ Relation, URL string }

	Entry []struct {
		Resource struct {
			ID, Action, Outcome string
			Extension           []extension
			Agent               []struct {
				Who     struct{ Display string }
				Network *struct{ Address string }
			}
		}
	}
}

func readBundle(t *testing.T, text string) (b bundle) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &b))
	return b
}

// checkProof verifies one AuditEvent with what stands in the bundle and the key, by sumdb's
// packages, and returns the bytes of its event.
func checkProof(t *testing.T, proof extension, root tlog.Tree) (leaf tlog.Hash, event, salt []byte) {
	t.Helper()
	var seq int64
	var path tlog.RecordProof
	for _, part := range proof.Extension {
		var err error
		switch part.URL {
		case "seq":
			seq, err = strconv.ParseInt(part.ValueText, 10, 64)
		case "treeSize":
			require.Equal(t, strconv.FormatInt(root.N, 10), part.ValueText)
		case "leafHash":
			leaf = tlog.Hash(part.Value)
		case "hash":
			path = append(path, tlog.Hash(part.Value))
		case "event":
			event = part.Value
		case "salt":
			salt = part.Value
		}
		require.NoError(t, err)
	}
	require.NoError(t, tlog.CheckRecord(path, root.N, root.Hash, seq, leaf))
	return leaf, event, salt
}

func TestDH34_ThePatientsAccessReportIsVerifiedOffline(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	update := func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_UPDATE }
	p.await(p.send(append(batchOf(300), event(), event(update), event(practice(practiceB)))...))
	reading := s.reading(r)
	ask := &auditv1.GetAccessReportRequest{PatientId: patient1.String(), IncludeEvents: true, PageSize: 2}
	report, err := reading.GetAccessReport(as(t, practiceA, everything...), ask)
	require.NoError(t, err)
	b := readBundle(t, report.GetBundle())
	require.Len(t, b.Entry, 2)
	require.Equal(t, "R", b.Entry[0].Resource.Action, "the report itself is what was read last")
	require.Equal(t, "U", b.Entry[1].Resource.Action)

	require.Equal(t, "urn:carekeep:fhir:checkpoint", b.Meta.Extension[0].URL)
	verifier, err := note.NewVerifier(report.GetVerifierKey())
	require.NoError(t, err)
	c, err := ledger.OpenCheckpoint(b.Meta.Extension[0].ValueText, note.VerifierList(verifier))
	require.NoError(t, err)
	for _, e := range b.Entry {
		leaf, raw, salt := checkProof(t, e.Resource.Extension[0], c.Tree())
		want, err := ledger.LeafHash(salt, raw)
		require.NoError(t, err)
		require.Equal(t, want, leaf)
		var v auditv1.Event
		require.NoError(t, proto.Unmarshal(raw, &v))
		require.Equal(t, e.Resource.ID, v.GetEventId())
		require.Equal(t, patient1.String(), v.GetPatientId())
		require.Equal(t, practiceA.String(), v.GetPracticeId())
	}
	require.NotEmpty(t, report.GetNextPageToken())
	ask.PageToken = report.GetNextPageToken()
	_, err = reading.GetAccessReport(as(t, practiceA, everything...), ask)
	require.NoError(t, err)
	const method = auditv1.ReadingService_GetAccessReport_FullMethodName
	require.Len(t, list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: method}), 2, "one event each")

	// Without the permission to see addresses there are none, and the bytes that hold them neither.
	without := []accessv1.Permission{accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ}
	ask = &auditv1.GetAccessReportRequest{PatientId: patient1.String()}
	report, err = reading.GetAccessReport(as(t, practiceA, without...), ask)
	require.NoError(t, err)
	require.NotContains(t, report.GetBundle(), "192.0.2.7")
	b = readBundle(t, report.GetBundle())
	_, raw, _ := checkProof(t, b.Entry[0].Resource.Extension[0], mustCheckpoint(t, b, report).Tree())
	require.Empty(t, raw)
	ask.IncludeEvents = true
	_, err = reading.GetAccessReport(as(t, practiceA, without...), ask)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = reading.GetAccessReport(as(t, practiceA, accessv1.Permission_PERMISSION_AUDIT_ENTRIES_LIST), ask)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func mustCheckpoint(t *testing.T, b bundle, report *auditv1.AccessReport) ledger.Checkpoint {
	t.Helper()
	verifier, err := note.NewVerifier(report.GetVerifierKey())
	require.NoError(t, err)
	c, err := ledger.OpenCheckpoint(b.Meta.Extension[0].ValueText, note.VerifierList(verifier))
	require.NoError(t, err)
	return c
}

func TestDH34_AuditEventsAreSearchedInFHIR(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	update := func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_UPDATE }
	denied := func(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_DENIED }
	glass := func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_BREAK_GLASS }
	events := []*auditv1.Event{event(), event(update), event(denied), event(glass), event(update, denied), event(practice(practiceB), update)}
	p.await(p.send(events...))
	reading := s.reading(r)
	find := func(form string) (found []int, next string) {
		t.Helper()
		answer, err := reading.SearchAuditEvents(as(t, practiceA, everything...), &auditv1.SearchAuditEventsRequest{Parameters: form})
		require.NoError(t, err, form)
		b := readBundle(t, answer.GetBundle())
		for _, e := range b.Entry {
			found = append(found, slices.IndexFunc(events, func(v *auditv1.Event) bool { return v.GetEventId() == e.Resource.ID }))
		}
		if len(b.Link) > 0 {
			next = b.Link[0].URL
		}
		return found, next
	}
	patient := "patient=Patient/" + patient1.String()
	for form, want := range map[string][]int{
		patient:                              {4, 3, 2, 1, 0},
		patient + "&action=U":                {4, 1},
		patient + "&action=E":                {3},
		patient + "&action=R&outcome=4":      {2},
		"action=D&agent=" + drSmith.String(): nil,
		"agent=urn:carekeep:user|" + drSmith.String() + "&outcome=4":        {4, 2},
		patient + "&date=ge2020-01-01&date=lt2100-01-01T00:00:00Z&action=U": {4, 1},
		patient + "&date=lt2020-01-01":                                      nil,
	} {
		found, next := find(form)
		require.Equal(t, want, found, form)
		require.Empty(t, next)
	}
	found, next := find(patient + "&_count=2")
	require.Equal(t, []int{4, 3}, found)
	require.Equal(t, "AuditEvent/_search?_cursor=3", next)
	found, _ = find(patient + "&_count=2&_cursor=3")
	require.Equal(t, []int{2, 1}, found)

	for _, bad := range []string{"entity=x", "patient=1", "patient=" + patient1.String() + "&patient=" + patient1.String(), "date=ge2020", "date=sa2020-01-01",
		"action=X", "outcome=12", "_count=0", "_count=201", "_cursor=-1", "%zz", "date=ge2021-01-01&date=lt2020-01-01"} {
		_, err := reading.SearchAuditEvents(as(t, practiceA, everything...), &auditv1.SearchAuditEventsRequest{Parameters: bad})
		require.Equal(t, codes.InvalidArgument, status.Code(err), bad)
	}
	const method = auditv1.ReadingService_SearchAuditEvents_FullMethodName
	require.Len(t, list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Method: method, Outcome: auditv1.Outcome_OUTCOME_OK}), 10, "one event each")
}
