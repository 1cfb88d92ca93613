package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/devkit"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
	"github.com/carekeep/carekeep/services/audit/internal/witnesses"
)

// witness runs the witness of transparency-dev (tests/witness) for this suite's log.
func (s *suite) witness() Witness {
	s.t.Helper()
	program, err := devkit.Build(s.t.Context(), filepath.Join("tests", "witness"), ".", "test-witness")
	require.NoError(s.t, err)
	cmd := exec.CommandContext(s.t.Context(), program, s.logKey())
	cmd.Stderr = os.Stderr
	end, err := cmd.StdinPipe() // it ends with this process, however that ends
	require.NoError(s.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() { _ = end.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	require.True(s.t, lines.Scan())
	w := Witness{URL: lines.Text()}
	require.True(s.t, lines.Scan())
	w.Key = lines.Text()
	require.NoError(s.t, w.Validate())
	return w
}

// logKey is the log's verifier key, as the service would name it.
func (s *suite) logKey() string {
	s.t.Helper()
	r := s.writer()
	defer r.stop()
	text, err := r.keys.File(s.t.Context())
	require.NoError(s.t, err)
	return firstLine(text)
}

// circle asks witnesses about this suite's database, by the test's own clock.
func (s *suite) circle(now func() time.Time, list ...Witness) *witnesses.Circle {
	s.t.Helper()
	settings := Settings{Witnesses: list}
	c, err := settings.circle(store.New(s.pool()), slog.New(slog.NewTextHandler(s.logs, nil)), now)
	require.NoError(s.t, err)
	return c
}

func (s *suite) cosigned() (sizes []int64) {
	s.t.Helper()
	require.NoError(s.t, s.as("").QueryRow(s.t.Context(), "SELECT coalesce(array_agg(size ORDER BY size), '{}') FROM cosignatures").Scan(&sizes))
	return sizes
}

// A real witness signs the newest checkpoint as the log grows, and whoever knows the witness's key sees that.
func TestDMD08_AWitnessCosignsTheLog(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	w := s.witness()
	s.witnesses = []Witness{w}
	r := s.writer()
	p := s.producer("records")
	log := s.outside(r)
	known, err := ledger.ParseWitness(w.Key)
	require.NoError(t, err)
	p.await(p.send(batchOf(3)...))
	_, n, err := log.Checkpoint(t.Context(), known)
	require.NoError(t, err, "until a witness signed, the newest checkpoint is shown")
	require.Len(t, n.Sigs, 1)
	for _, size := range []int64{3, 260, 261} {
		if more := int(size - s.size()); more > 0 {
			p.await(p.send(batchOf(more)...))
		}
		var signed *note.Note
		require.Eventually(t, func() bool { // the service asks by itself
			tree, n, err := log.Checkpoint(t.Context(), known)
			signed = n
			return err == nil && tree.N == size && len(n.Sigs) == 2
		}, patience, often, "%s", s.logs)
		for _, sig := range signed.Sigs {
			if sig.Name == known.Name() {
				at, err := ledger.CosignTime(sig)
				require.NoError(t, err)
				require.WithinDuration(t, time.Now(), at, time.Minute)
			}
		}
	}
	require.Equal(t, []int64{3, 260, 261}, s.cosigned())
	require.NoError(t, r.witnesses.Ready(t.Context()))
}

// A witness that has seen more or less than we know says so, and is brought up to date from there.
func TestAWitnessIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	w := s.witness()
	s.writer()
	p := s.producer("records")
	p.await(p.send(batchOf(300)...))
	require.NoError(t, s.circle(time.Now, w).Round(t.Context()))
	require.Equal(t, []int64{300}, s.cosigned())
	p.await(p.send(batchOf(20)...))
	s.tamper("DELETE FROM cosignatures") // as if another replica's answer had been lost
	require.NoError(t, s.circle(time.Now, w).Round(t.Context()))
	require.Equal(t, []int64{320}, s.cosigned(), "%s", s.logs)
	s.tamper("DELETE FROM cosignatures")
	require.NoError(t, s.circle(time.Now, w).Round(t.Context()))
	require.Equal(t, []int64{320}, s.cosigned(), "the same checkpoint again")
	require.NotContains(t, s.logs.String(), "does not sign")
}

// What another key signed is not taken, the witness is left alone for longer and longer, and the others go on.
func TestAWitnessWithAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	w := s.witness()
	wrong := Witness{URL: w.URL, Key: witnessKey("witness.test/w1", 5)}
	gone := Witness{URL: "http://127.0.0.1:1", Key: witnessKey("witness.test/gone", 6)}
	s.writer()
	p := s.producer("records")
	p.await(p.send(batchOf(3)...))
	now := time.Now()
	c := s.circle(func() time.Time { return now }, wrong, gone, w)
	for range 3 {
		require.NoError(t, c.Round(t.Context()))
		p.await(p.send(batchOf(1)...))
	}
	require.Equal(t, []int64{3, 4, 5}, s.cosigned())
	require.Contains(t, s.logs.String(), "no signature by the key that is configured")
	require.Equal(t, 2, strings.Count(s.logs.String(), "a witness does not sign"), "each is reported once")
	require.NoError(t, c.Ready(t.Context()), "a witness that is away is no reason to stop")
}

// A witness that has seen another history is the proof that this one was rolled back or rewritten.
func TestDMD08_AWitnessContradictsARolledBackLog(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	w := s.witness()
	r := s.writer()
	p := s.producer("records")
	for range 3 {
		p.await(p.send(batchOf(100)...))
	}
	require.NoError(t, s.circle(time.Now, w).Round(t.Context()))
	r.stop()
	s.tamper("DELETE FROM cosignatures", "DELETE FROM checkpoints WHERE size > 200", "DELETE FROM entries WHERE seq >= 200", "DELETE FROM tiles WHERE idx >= 0")
	c := s.circle(time.Now, w)
	require.NoError(t, c.Round(t.Context()))
	require.ErrorIs(t, c.Ready(t.Context()), witnesses.ErrContradicted)
	require.Empty(t, s.cosigned())

	s.copies = t.TempDir() // the copies are gone as well, and the log grows past where it was, with other events
	s.writer()
	p.await(p.send(batchOf(400)...))
	c = s.circle(time.Now, w)
	require.NoError(t, c.Round(t.Context()))
	require.ErrorIs(t, c.Ready(t.Context()), witnesses.ErrContradicted)
	require.Empty(t, s.cosigned())
}

func witnessKey(name string, seed byte) string {
	var private [ed25519.SeedSize]byte
	private[0] = seed
	raw := append([]byte{4}, ed25519.NewKeyFromSeed(private[:]).Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(raw))
}

func TestWitnessesThatAreRefused(t *testing.T) {
	t.Parallel()
	good := witnessKey("w.example/1", 1)
	require.NoError(t, Witness{URL: "https://w.example/audit", Key: good}.Validate())
	require.NoError(t, Witness{URL: "http://127.0.0.1:9", Key: good}.Validate())
	_, plain, err := note.GenerateKey(zeros{}, "w.example/1")
	require.NoError(t, err)
	for _, w := range []Witness{
		{URL: "http://w.example", Key: good}, {URL: "w.example", Key: good}, {URL: "https://u:p@w.example", Key: good}, {URL: "https://w.example?x=1", Key: good},
		{URL: "https://w.example", Key: ""}, {URL: "https://w.example", Key: plain}, {URL: "https://w.example", Key: good[:len(good)-4]},
		{URL: "https://w.example", Key: strings.Replace(good, "w.example", "v.example", 1)},
	} {
		require.Error(t, w.Validate(), "%v", w)
	}
}

// zeros gives zeros where a key's secrecy does not matter.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
