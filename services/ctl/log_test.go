package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
)

const testLog = "test.example/audit"

var epoch = time.Date(2026, 11, 21, 13, 4, 22, 123456000, time.UTC)

// sample is a log in memory: what a server would export of it.
type sample struct {
	entries []ledger.Entry
	tiles   map[int64][]ledger.Tile // by the size at which they were complete
	signed  map[int64]string        // checkpoints by size
	key     string
}

func signer(t *testing.T, seed byte) (note.Signer, string) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public := private.Public().(ed25519.PublicKey)
	s, err := ledger.NewSigner(testLog, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil })
	require.NoError(t, err)
	key, err := ledger.VerifierKey(testLog, public)
	require.NoError(t, err)
	return s, key
}

// newSample appends groups of the given sizes, each under a checkpoint.
func newSample(t *testing.T, groups ...int) *sample { return newHistory(t, "salt", groups...) }

// newHistory is another log under the same key, unless salted alike.
func newHistory(t *testing.T, salted string, groups ...int) *sample {
	t.Helper()
	s := &sample{tiles: map[int64][]ledger.Tile{}, signed: map[int64]string{}}
	var sign note.Signer
	sign, s.key = signer(t, 7)
	tree := ledger.NewFrontier()
	for g, size := range groups {
		now := epoch.Add(time.Duration(g) * time.Second)
		for range size {
			e := newEntry(t, tree.Size(), salted)
			e.AppendTime = &now
			s.entries = append(s.entries, e)
			tiles, err := tree.Append(e.Leaf)
			require.NoError(t, err)
			s.tiles[tree.Size()] = tiles
		}
		root, err := tree.Root()
		require.NoError(t, err)
		signed, err := ledger.Checkpoint{Log: testLog, Size: tree.Size(), Root: root, Time: now}.Sign(sign)
		require.NoError(t, err)
		s.signed[tree.Size()] = signed
	}
	return s
}

func newEntry(t *testing.T, n int64, salted string) ledger.Entry {
	t.Helper()
	event := &auditv1.Event{
		EventId: fmt.Sprintf("019aa5d0-0000-7000-8000-%012x", n), EventTime: timestamppb.New(epoch.Add(time.Duration(n) * time.Millisecond)),
		PracticeId: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "practice", n%3)).String(),
		UserId:     uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "user", n%7)).String(),
		PatientId:  uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "patient", n%5)).String(),
		Username:   "dr.smith", Service: accessv1.Service_SERVICE_RECORDS, Action: accessv1.Action_ACTION_READ,
		Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW, Address: "192.0.2.7",
	}
	raw, err := proto.Marshal(event)
	require.NoError(t, err)
	salt := sha256.Sum256(fmt.Append(nil, salted, n))
	leaf, err := ledger.LeafHash(salt[:], raw)
	require.NoError(t, err)
	index, err := ledger.IndexOf(event)
	require.NoError(t, err)
	return ledger.Entry{Seq: n, Leaf: leaf, Event: raw, Salt: salt[:], Index: &index}
}

// full writes the log as `audit export` does, from the database.
func (s *sample) full(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	w, err := ledger.NewWriter(&out, testLog, ledger.ScopeFull, epoch.Add(time.Hour))
	require.NoError(t, err)
	for _, e := range s.entries {
		require.NoError(t, w.Entry(e))
		for _, tile := range s.tiles[e.Seq+1] {
			require.NoError(t, w.Tile(tile))
		}
		if signed, ok := s.signed[e.Seq+1]; ok {
			require.NoError(t, w.Checkpoint(signed))
		}
	}
	require.NoError(t, w.Close())
	return write(t, "log.jsonl", out.Bytes())
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}
