package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

const testLog = "test.example/audit"

var epoch = time.Date(2026, 11, 21, 13, 4, 22, 123456000, time.UTC)

// sample is a log in memory: the lines of its full export and what a verifier trusts.
type sample struct {
	lines       []line
	entries     []Entry
	checkpoints []Checkpoint
	trust       Trust
	signer      note.Signer
}

func testKey(t require.TestingT) (note.Signer, note.Verifiers, string) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public := private.Public().(ed25519.PublicKey)
	signer, err := NewSigner(testLog, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil })
	require.NoError(t, err)
	key, err := VerifierKey(testLog, public)
	require.NoError(t, err)
	name, keys, err := ParseKeys("# a comment\n\n" + key + "\n" + key + "\n")
	require.NoError(t, err)
	require.Equal(t, testLog, name)
	return signer, keys, key
}

// testEntry makes entry n, the same for the same n.
func testEntry(t require.TestingT, n int64) Entry {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(epoch.UnixMilli())<<16|0x7000)
	binary.BigEndian.PutUint64(id[8:], 1<<63|uint64(n))
	event := &auditv1.Event{
		EventId: id.String(), EventTime: timestamppb.New(epoch.Add(time.Duration(n) * time.Millisecond)),
		PracticeId: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "practice", n%3)).String(),
		UserId:     uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "user", n%7)).String(),
		PatientId:  uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "patient", n%5)).String(),
		Username:   "dr.smith", Service: accessv1.Service_SERVICE_RECORDS, Action: accessv1.Action_ACTION_READ,
		Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW, Address: "192.0.2.7",
	}
	raw, err := proto.Marshal(event)
	require.NoError(t, err)
	salt := sha256.Sum256(fmt.Append(nil, "salt", n))
	leaf, err := LeafHash(salt[:], raw)
	require.NoError(t, err)
	index, err := IndexOf(event)
	require.NoError(t, err)
	return Entry{Seq: n, Leaf: leaf, Event: raw, Salt: salt[:], Index: &index}
}

// newSample appends groups of the given sizes and exports the log in full.
func newSample(t require.TestingT, groups ...int) *sample {
	s := new(sample)
	var keys note.Verifiers
	s.signer, keys, _ = testKey(t)
	s.trust = Trust{Log: testLog, Keys: keys}
	s.lines = append(s.lines, line{Header: &Header{Format: Format, Log: testLog, Scope: ScopeFull, CreateTime: epoch.Add(time.Hour)}})
	tree := NewFrontier()
	for g, size := range groups {
		now := epoch.Add(time.Duration(g) * time.Second)
		for range size {
			e := testEntry(t, tree.Size())
			e.AppendTime = &now
			s.entries = append(s.entries, e)
			s.lines = append(s.lines, line{Entry: &e})
			tiles, err := tree.Append(e.Leaf)
			require.NoError(t, err)
			for _, tile := range tiles {
				s.lines = append(s.lines, line{Tile: &tileLine{Level: tile.Level, Index: tile.Index, Hashes: tile.Hashes}})
			}
		}
		root, err := tree.Root()
		require.NoError(t, err)
		s.checkpoint(t, Checkpoint{Log: testLog, Size: tree.Size(), Root: root, Time: now})
	}
	return s
}

func (s *sample) checkpoint(t require.TestingT, c Checkpoint) {
	signed, err := c.Sign(s.signer)
	require.NoError(t, err)
	s.checkpoints = append(s.checkpoints, c)
	s.lines = append(s.lines, line{Checkpoint: &checkpointLine{Note: signed}})
}

// file renders the lines with a correct end, as a tamperer would who knows the format.
func (s *sample) file(t require.TestingT) []byte {
	var out bytes.Buffer
	var end End
	for _, l := range s.lines {
		if l.Entry != nil {
			end.Entries++
		}
		if l.Checkpoint != nil {
			end.Checkpoints++
		}
		writeLine(t, &out, l)
	}
	digest := sha256.Sum256(out.Bytes())
	end.SHA256 = hex.EncodeToString(digest[:])
	writeLine(t, &out, line{End: &end})
	return out.Bytes()
}

func writeLine(t require.TestingT, out *bytes.Buffer, l line) {
	text, err := json.Marshal(l)
	require.NoError(t, err)
	out.Write(text)
	out.WriteByte('\n')
}

func (s *sample) verify(t require.TestingT) *Report {
	report, err := Verify(bytes.NewReader(s.file(t)), s.trust)
	require.NoError(t, err)
	return report
}

// at returns the position of entry n among the lines.
func (s *sample) at(n int64) int {
	for i, l := range s.lines {
		if l.Entry != nil && l.Entry.Seq == n {
			return i
		}
	}
	return -1
}

func TestVerifyAcceptsAWholeLog(t *testing.T) {
	for _, groups := range [][]int{nil, {1}, {1, 2, 3}, {255, 1}, {256}, {300, 1, 300}, {66000, 3}} {
		s := newSample(t, groups...)
		s.trust.Kept = s.checkpoints
		report := s.verify(t)
		require.NoError(t, report.Err(), "groups %v", groups)
		require.EqualValues(t, len(s.entries), report.Entries)
		require.EqualValues(t, len(s.entries), report.Whole)
		require.EqualValues(t, len(groups), report.Checkpoints)
		require.EqualValues(t, len(groups), report.Kept)
		if len(groups) > 0 {
			require.Equal(t, s.checkpoints[len(groups)-1].Root, report.Root)
		}
	}
}

// A log goes on growing after an export of it was made, and so do the copies of its checkpoints.
func TestYoungerKeptCheckpointsAreNotMissed(t *testing.T) {
	s := newSample(t, 10, 10)
	longer := newSample(t, 10, 10, 10)
	s.trust.Kept = longer.checkpoints
	require.ErrorContains(t, s.verify(t).Err(), string(RolledBack))
	s.lines[0].Header.CreateTime = s.checkpoints[1].Time
	report := s.verify(t)
	require.NoError(t, report.Err())
	require.EqualValues(t, 2, report.Kept)
	require.EqualValues(t, 1, report.Younger)
}

func TestVerifyAcceptsOnePracticesExport(t *testing.T) {
	s := newSample(t, 40, 300)
	s.lines[0].Header.Scope = ScopePractice
	var kept []line
	for _, l := range s.lines {
		if l.Tile != nil {
			continue
		}
		if l.Entry != nil && l.Entry.Seq%3 != 0 {
			l.Entry = &Entry{Seq: l.Entry.Seq, Leaf: l.Entry.Leaf}
		}
		kept = append(kept, l)
	}
	s.lines = kept
	report := s.verify(t)
	require.NoError(t, report.Err())
	require.EqualValues(t, 340, report.Entries)
	require.EqualValues(t, 114, report.Whole)
}

// The tree is checked against sumdb/tlog, which shares no code with ours.
func TestFrontierMatchesTlog(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	tree := NewFrontier()
	_, err := tree.Root()
	require.Error(t, err, "an empty tree has no root")
	levels := [][]tlog.Hash{nil, nil, nil}
	for n := range int64(1200) {
		leaf := testEntry(t, n%50).Leaf
		leaf[0] ^= byte(n)
		hashes, err := tlog.StoredHashesForRecordHash(n, leaf, reader)
		require.NoError(t, err)
		stored = append(stored, hashes...)
		levels[0] = append(levels[0], leaf)
		tiles, err := tree.Append(leaf)
		require.NoError(t, err)
		for _, tile := range tiles {
			want, err := tlog.ReadTileData(tlog.Tile{H: TileHeight, L: tile.Level, N: tile.Index, W: TileWidth}, reader)
			require.NoError(t, err)
			require.Equal(t, want, tile.Hashes)
			levels[tile.Level+1] = append(levels[tile.Level+1], tile.Root)
		}
		want, err := tlog.TreeHash(n+1, reader)
		require.NoError(t, err)
		root, err := tree.Root()
		require.NoError(t, err)
		require.Equal(t, want, root, "size %d", n+1)

		loaded, err := LoadFrontier(n+1, func(level int, from, to int64) ([]tlog.Hash, error) { return levels[level][from:to], nil })
		require.NoError(t, err)
		root, err = loaded.Root()
		require.NoError(t, err)
		require.Equal(t, want, root, "reloaded at size %d", n+1)
		require.Equal(t, tree.partial, loaded.partial)
	}
}

func TestLoadFrontierRefusesAShortLevel(t *testing.T) {
	_, err := LoadFrontier(10, func(int, int64, int64) ([]tlog.Hash, error) { return make([]tlog.Hash, 9), nil })
	require.ErrorContains(t, err, "want 10")
}
