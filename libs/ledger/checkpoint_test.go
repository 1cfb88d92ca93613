package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestCheckpointRoundTrip(t *testing.T) {
	signer, keys, _ := testKey(t)
	c := Checkpoint{Log: testLog, Size: 4711, Root: tlog.RecordHash([]byte("x")), Time: epoch}
	signed, err := c.Sign(signer)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(signed, "test.example/audit\n4711\n"+c.Root.String()+"\ntime 2026-11-21T13:04:22.123456Z\n\n— test.example/audit "), signed)
	opened, err := OpenCheckpoint(signed, keys)
	require.NoError(t, err)
	require.Equal(t, c, opened)
}

func TestCheckpointsThatAreRefused(t *testing.T) {
	signer, keys, _ := testKey(t)
	good := Checkpoint{Log: testLog, Size: 1, Root: tlog.RecordHash(nil), Time: epoch}.Text()
	for name, text := range map[string]string{
		"another log":     strings.Replace(good, testLog, "other", 1),
		"leading zero":    strings.Replace(good, "\n1\n", "\n01\n", 1),
		"size zero":       strings.Replace(good, "\n1\n", "\n0\n", 1),
		"negative size":   strings.Replace(good, "\n1\n", "\n-1\n", 1),
		"short root":      strings.Replace(good, "\nbjQL", "\n", 1),
		"no time":         good[:strings.Index(good, "time")],
		"another time":    strings.Replace(good, ".123456Z", "Z", 1),
		"one line more":   good + "more\n",
		"no log":          strings.Replace(good, testLog, "", 1),
		"empty":           "\n",
		"base64 in bytes": strings.Replace(good, "=\n", "\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, good, text)
			signed, err := note.Sign(&note.Note{Text: text}, signer)
			require.NoError(t, err)
			_, err = OpenCheckpoint(string(signed), keys)
			require.ErrorIs(t, err, ErrCheckpoint)
		})
	}
	_, err := OpenCheckpoint(strings.Repeat("x", maxNote+1), keys)
	require.ErrorIs(t, err, ErrCheckpoint)
	_, err = Checkpoint{Log: "other"}.Sign(signer)
	require.ErrorContains(t, err, `log "other"`)
}

func TestASignatureOfAnotherKeyIsRefused(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := NewSigner(testLog, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil })
	require.NoError(t, err)
	_, err = Checkpoint{Log: testLog, Size: 1, Time: time.Now()}.Sign(signer)
	require.ErrorIs(t, err, ErrForeignSignature)

	sealed := errors.New("sealed")
	signer, err = NewSigner(testLog, public, func([]byte) ([]byte, error) { return nil, sealed })
	require.NoError(t, err)
	_, err = Checkpoint{Log: testLog, Size: 1, Time: time.Now()}.Sign(signer)
	require.ErrorIs(t, err, sealed)
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	_, _, key := testKey(t)
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	other, err := VerifierKey("other.example", public)
	require.NoError(t, err)
	for _, text := range []string{"", "# nothing\n", "not a key", key + "\n" + other} {
		_, _, err := ParseKeys(text)
		require.Error(t, err, text)
	}
	for _, log := range []string{"", "a b", "a+b"} {
		_, err := VerifierKey(log, public)
		require.Error(t, err, log)
	}
}

func TestWitnessKeysThatAreRefused(t *testing.T) {
	public := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	key := func(name string, algorithm byte) string {
		raw := append([]byte{algorithm}, public...)
		sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
		return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(raw))
	}
	w, err := ParseWitness(key("w.example/1", 4))
	require.NoError(t, err)
	require.Equal(t, "w.example/1", w.Name())
	good := key("w.example/1", 4)
	for _, text := range []string{"", "+", "++", "w.example/1", key("w.example/1", 1), key("w.example/1", 6), key("", 4), key("two words", 4), good + "=", good[:len(good)-1],
		"x" + good, good + "\n", "w+123+" + good[len(good)-44:]} {
		_, err := ParseWitness(text)
		require.ErrorIs(t, err, ErrWitnessKey, text)
	}
}

// FuzzCosignature: nothing that a witness answers makes the verifier panic, and no signature but the key's passes.
func FuzzCosignature(f *testing.F) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
	w := &witness{name: "w", key: private.Public().(ed25519.PublicKey)}
	msg := []byte("log\n1\nroot\n")
	sign := func(at uint64) []byte {
		return append(binary.BigEndian.AppendUint64(nil, at), ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, msg))...)
	}
	require.True(f, w.Verify(msg, sign(1679315147)))
	require.False(f, w.Verify(msg, sign(1<<63)), "the time does not fit 63 bits")
	require.False(f, w.Verify([]byte("log\n2\nroot\n"), sign(7)))
	f.Add(sign(7))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sig []byte) {
		if w.Verify(msg, sig) {
			require.Equal(t, sign(binary.BigEndian.Uint64(sig)), sig)
		}
		_, _ = CosignTime(note.Signature{Base64: base64.StdEncoding.EncodeToString(sig)})
	})
}
