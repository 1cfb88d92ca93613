package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/ledger"
)

func TestDH38_TheLineOfAnEntryParsesAndHostileNamesAreEscaped(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	at := time.Now().UTC().Truncate(time.Second)
	hostile := "eve→x [OK]\r\n13:00:00 READ dr.smith"
	p.await(p.send(
		event(func(e *auditv1.Event) { e.EventTime = timestamppb.New(at) }),
		event(func(e *auditv1.Event) {
			e.EventTime, e.Username, e.Outcome = timestamppb.New(at), hostile, auditv1.Outcome_OUTCOME_DENIED
		})))
	entries := list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{UserId: drSmith.String()})
	require.Len(t, entries, 2)
	require.Equal(t, at.Format("15:04:05")+" READ dr.smith→patient/"+patient1.String()+" [OK]", entries[1].GetLine())
	require.NotContains(t, entries[0].GetLine(), "\n")
	require.NotContains(t, entries[0].GetLine(), "\r")
	for i, name := range []string{hostile, "dr.smith"} {
		fields, err := evidence.Parse(entries[i].GetLine())
		require.NoError(t, err)
		require.Equal(t, name, fields.Username)
		require.Equal(t, patient1.String(), fields.Patient)
	}
}

func TestDMD06_APracticeNeverSeesAnothersEntries(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(event(practice(practiceB)), event(), event(practice(uuid.Nil), func(e *auditv1.Event) { e.PracticeId = "" })))
	client := s.client(r)
	for own, want := range map[uuid.UUID]int64{practiceA: 1, practiceB: 0, uuid.Nil: 2} {
		records := list(t, client, own, &auditv1.ListEntriesRequest{UserId: drSmith.String()})
		require.Len(t, records, 1)
		require.Equal(t, want, records[0].GetSeq())
		for seq := range int64(3) {
			_, err := client.GetEntry(as(t, own, everything...), &auditv1.GetEntryRequest{Seq: seq})
			_, proofErr := client.GetInclusionProof(as(t, own, everything...), &auditv1.GetInclusionProofRequest{Seq: seq})
			if seq == want {
				require.NoError(t, err)
				require.NoError(t, proofErr)
				continue
			}
			_, none := client.GetEntry(as(t, own, everything...), &auditv1.GetEntryRequest{Seq: 1 << 40})
			require.Equal(t, codes.NotFound, status.Code(err))
			require.Equal(t, none.Error(), err.Error(), "another's entry must answer like one that does not exist")
			require.Equal(t, codes.NotFound, status.Code(proofErr))
		}
	}
	export := download(t, client, practiceB)
	for _, e := range export.entries {
		require.Equal(t, e.GetSeq() == 0 || bytes.Contains(e.GetEventBytes(), []byte(practiceB.String())), len(e.GetEventBytes()) > 0,
			"entry %d", e.GetSeq())
	}
}

// Each RPC, allowed or denied, leaves an entry with user, time, address and outcome; a
// log that cannot be written refuses to be read.
func TestDH16_ReadingTheLogIsLogged(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	client := s.client(r)
	before := time.Now().Add(-time.Second)
	_, err := client.ListEntries(as(t, practiceA, everything...), &auditv1.ListEntriesRequest{})
	require.NoError(t, err)
	_, err = client.GetEntry(as(t, practiceA), &auditv1.GetEntryRequest{Seq: 0})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = client.GetEntry(as(t, practiceA, everything...), &auditv1.GetEntryRequest{Seq: 1 << 40})
	require.Equal(t, codes.NotFound, status.Code(err))

	entries := list(t, client, practiceA, &auditv1.ListEntriesRequest{})
	require.Len(t, entries, 3)
	slices.Reverse(entries)
	for i, want := range []struct {
		action  accessv1.Action
		outcome auditv1.Outcome
	}{
		{accessv1.Action_ACTION_LIST, auditv1.Outcome_OUTCOME_OK},
		{accessv1.Action_ACTION_READ, auditv1.Outcome_OUTCOME_DENIED},
		{accessv1.Action_ACTION_READ, auditv1.Outcome_OUTCOME_FAILED},
	} {
		e := entries[i].GetEvent()
		require.Equal(t, want.action, e.GetAction())
		require.Equal(t, want.outcome, e.GetOutcome())
		require.Equal(t, officer.String(), e.GetUserId())
		require.Equal(t, "officer", e.GetUsername())
		require.Equal(t, "198.51.100.9", e.GetAddress())
		require.Equal(t, accessv1.Service_SERVICE_GATEWAY, e.GetCaller())
		require.WithinRange(t, e.GetEventTime().AsTime(), before, time.Now())
	}

	r.stop()
	closed := s.start()
	require.Eventually(t, closed.appender.Writing, patience, often)
	s.tamper("DELETE FROM entries WHERE seq = 0") // from now on nobody becomes the writer
	closed.pool.Reset()
	_, err = s.as("").Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'audit_app'")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !closed.appender.Writing() }, patience, often)
	_, err = s.client(closed).GetCheckpoint(as(t, practiceA, everything...), &auditv1.GetCheckpointRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	require.Equal(t, "AUDIT_UNAVAILABLE", errs.ReasonOf(err))
}

func TestDH34_ListsFilterAndPage(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	other := uuid.MustParse("0194c9a0-0000-7000-8000-0000000000f2")
	start := time.Now().UTC()
	var all []*auditv1.Event
	for i := range 25 {
		all = append(all, event(func(e *auditv1.Event) {
			e.EventTime = timestamppb.New(start.Add(time.Duration(i) * time.Minute))
			if i%5 == 0 {
				e.PatientId, e.Action = other.String(), accessv1.Action_ACTION_UPDATE
			}
			if i%2 == 0 {
				e.Outcome, e.UserId = auditv1.Outcome_OUTCOME_DENIED, uuid.Nil.String()
			}
		}))
	}
	p.await(p.send(all...))
	client := s.client(r)
	seqs := func(req *auditv1.ListEntriesRequest) []int64 {
		var out []int64
		for _, e := range list(t, client, practiceA, req) {
			if e.GetSeq() < 25 { // the rest are our own requests
				out = append(out, e.GetSeq())
			}
		}
		return out
	}
	descending := func(keep func(i int64) bool) []int64 {
		var out []int64
		for i := int64(24); i >= 0; i-- {
			if keep(i) {
				out = append(out, i)
			}
		}
		return out
	}
	for _, size := range []int32{0, 1, 7, 500} {
		require.Equal(t, descending(func(int64) bool { return true }), seqs(&auditv1.ListEntriesRequest{PageSize: size}))
	}
	require.Equal(t, descending(func(i int64) bool { return i%5 == 0 }), seqs(&auditv1.ListEntriesRequest{PageSize: 2, PatientId: other.String()}))
	require.Equal(t, descending(func(i int64) bool { return i%2 == 1 }), seqs(&auditv1.ListEntriesRequest{PageSize: 5, UserId: drSmith.String()}))
	require.Equal(t, descending(func(i int64) bool { return i%5 == 0 }), seqs(&auditv1.ListEntriesRequest{Action: accessv1.Action_ACTION_UPDATE}))
	require.Equal(t, descending(func(i int64) bool { return i%2 == 0 }), seqs(&auditv1.ListEntriesRequest{Outcome: auditv1.Outcome_OUTCOME_DENIED}))
	require.Equal(t, descending(func(i int64) bool { return i >= 3 && i < 9 }), seqs(&auditv1.ListEntriesRequest{PageSize: 4,
		FromTime: timestamppb.New(start.Add(3 * time.Minute)), ToTime: timestamppb.New(start.Add(9 * time.Minute))}))
	require.Equal(t, descending(func(i int64) bool { return i%10 == 5 && i > 6 }), seqs(&auditv1.ListEntriesRequest{
		PatientId: other.String(), Outcome: auditv1.Outcome_OUTCOME_OK, FromTime: timestamppb.New(start.Add(7 * time.Minute))}))
}

func TestListsRefuseBadRequests(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(batchOf(3)...))
	client := s.client(r)
	page, err := client.ListEntries(as(t, practiceA, everything...), &auditv1.ListEntriesRequest{PageSize: 1})
	require.NoError(t, err)
	token := page.GetNextPageToken()
	for name, req := range map[string]*auditv1.ListEntriesRequest{
		"a token of other filters": {PageSize: 1, PageToken: token, UserId: drSmith.String()},
		"a token that is none":     {PageToken: "x"},
		"an altered token":         {PageToken: token[:len(token)-1]},
		"times in reverse":         {FromTime: timestamppb.New(time.Now()), ToTime: timestamppb.New(time.Now().Add(-time.Hour))},
		"an impossible time":       {FromTime: &timestamppb.Timestamp{Nanos: -1}},
		"no UUID":                  {PatientId: "1234"},
		"too large a page":         {PageSize: 501},
		"an unknown action":        {Action: 999},
	} {
		_, err := client.ListEntries(as(t, practiceA, everything...), req)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", name, err)
	}
	_, err = client.ListAlerts(as(t, practiceA, everything...), &auditv1.ListAlertsRequest{PageToken: token})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "a token of another list")
}

// The network address is for those who hold the permission; the bytes it stands in likewise.
func TestAddressesTakeAPermission(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(event()))
	without := slices.DeleteFunc(slices.Clone(everything), func(p accessv1.Permission) bool {
		return p == accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ
	})
	e, err := s.client(r).GetEntry(as(t, practiceA, without...), &auditv1.GetEntryRequest{Seq: 0})
	require.NoError(t, err)
	require.Empty(t, e.GetEvent().GetAddress())
	require.Empty(t, e.GetEventBytes())
	require.Empty(t, e.GetSalt())
	require.Equal(t, "dr.smith", e.GetEvent().GetUsername())
	e, err = s.client(r).GetEntry(as(t, practiceA, everything...), &auditv1.GetEntryRequest{Seq: 0})
	require.NoError(t, err)
	require.Equal(t, "192.0.2.7", e.GetEvent().GetAddress())
	leaf, err := ledger.LeafHash(e.GetSalt(), e.GetEventBytes())
	require.NoError(t, err)
	require.Equal(t, e.GetLeafHash(), leaf[:])
}

// Proofs are checked by golang.org/x/mod alone.
func TestProofsConvinceAnOutsideVerifier(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	client := s.client(r)
	var checkpoints []tlog.Tree
	for _, n := range []int{1, 3, 300, 256, 70, 513} {
		p.await(p.send(batchOf(n)...))
		c, err := client.GetCheckpoint(as(t, practiceA, everything...), &auditv1.GetCheckpointRequest{})
		require.NoError(t, err)
		checkpoints = append(checkpoints, tree(t, c))
	}
	for _, c := range checkpoints {
		for _, seq := range []int64{0, 1, 255, 256, 257, c.N / 2, c.N - 1} {
			if seq >= c.N || seq < 0 {
				continue
			}
			proof, err := client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: seq, TreeSize: c.N})
			require.NoError(t, err)
			require.NoError(t, tlog.CheckRecord(hashesOf(proof.GetHashes()), c.N, c.Hash, seq, tlog.Hash(proof.GetLeafHash())), "entry %d of %d", seq, c.N)
			require.GreaterOrEqual(t, tree(t, proof.GetCheckpoint()).N, c.N)
		}
		for _, first := range checkpoints {
			if first.N > c.N {
				continue
			}
			proof, err := client.GetConsistencyProof(as(t, practiceA, everything...), &auditv1.GetConsistencyProofRequest{FirstSize: first.N, SecondSize: c.N})
			require.NoError(t, err)
			require.NoError(t, tlog.CheckTree(hashesOf(proof.GetHashes()), c.N, c.Hash, first.N, first.Hash))
		}
	}
	proof, err := client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: 2})
	require.NoError(t, err)
	newest := tree(t, proof.GetCheckpoint())
	require.Equal(t, newest.N, proof.GetTreeSize())
	require.NoError(t, tlog.CheckRecord(hashesOf(proof.GetHashes()), newest.N, newest.Hash, 2, tlog.Hash(proof.GetLeafHash())))

	_, err = client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: 5, TreeSize: 5})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = client.GetInclusionProof(as(t, practiceA, everything...), &auditv1.GetInclusionProofRequest{Seq: 5, TreeSize: 1 << 40})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	_, err = client.GetConsistencyProof(as(t, practiceA, everything...), &auditv1.GetConsistencyProofRequest{FirstSize: 9, SecondSize: 8})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

// tree opens a checkpoint with the verifier key beside it, the way any sumdb client does.
func tree(t *testing.T, c *auditv1.Checkpoint) tlog.Tree {
	t.Helper()
	v, err := note.NewVerifier(c.GetVerifierKey())
	require.NoError(t, err)
	require.Equal(t, logName, v.Name())
	n, err := note.Open([]byte(c.GetNote()), note.VerifierList(v))
	require.NoError(t, err)
	// sumdb's own parser knows one origin only; the lines after it are the same.
	_, rest, _ := bytes.Cut([]byte(n.Text), []byte("\n"))
	parsed, err := tlog.ParseTree(append([]byte("go.sum database tree\n"), rest...))
	require.NoError(t, err)
	require.Equal(t, c.GetSize(), parsed.N)
	require.Equal(t, c.GetRootHash(), parsed.Hash[:])
	return parsed
}

func hashesOf(raw [][]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(raw))
	for i := range raw {
		out[i] = tlog.Hash(raw[i])
	}
	return out
}

// downloaded is what one practice gets.
type downloaded struct {
	entries     []*auditv1.ExportedEntry
	checkpoints int
	file        bytes.Buffer
}

func download(t *testing.T, client auditv1.AuditServiceClient, practice uuid.UUID) *downloaded {
	t.Helper()
	stream, err := client.Export(as(t, practice, everything...), &auditv1.ExportRequest{})
	require.NoError(t, err)
	d := &downloaded{}
	w, err := ledger.NewWriter(&d.file, logName, ledger.ScopePractice, time.Now())
	require.NoError(t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			require.NoError(t, w.Close())
			return d
		}
		require.NoError(t, err)
		if e := m.GetEntry(); e != nil {
			d.entries = append(d.entries, e)
			require.NoError(t, w.Entry(ledger.Entry{Seq: e.GetSeq(), Leaf: tlog.Hash(e.GetLeafHash()), Event: e.GetEventBytes(), Salt: e.GetSalt()}))
		} else {
			d.checkpoints++
			require.NoError(t, w.Checkpoint(m.GetCheckpoint()))
		}
	}
}

func TestAnExportByAPracticeVerifies(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	for range 5 {
		p.await(p.send(append(batchOf(600), event(practice(practiceB)))...))
	}
	d := download(t, s.client(r), practiceB)
	report, err := ledger.Verify(&d.file, s.trust())
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.EqualValues(t, 3006, report.Entries)
	require.EqualValues(t, 6, report.Whole, "five entries of the practice, and the export's own")
	require.EqualValues(t, d.checkpoints, report.Checkpoints)
	require.Contains(t, string(d.entries[3005].GetEventBytes()), "/carekeep.audit.v1.AuditService/Export", "the export is part of what it exports")
}
