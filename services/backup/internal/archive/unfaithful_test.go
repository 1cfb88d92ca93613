package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

// tampering passes a real base backup on, changed on its way.
type tampering struct {
	*replication.Conn
	change func(piece int, p []byte) []byte
}

func (c tampering) BaseBackup(ctx context.Context, label string, to replication.Receiver) (start, stop replication.Position, err error) {
	return c.Conn.BaseBackup(ctx, label, &tamperingReceiver{to, c.change, 0})
}

type tamperingReceiver struct {
	replication.Receiver
	change func(piece int, p []byte) []byte
	piece  int
}

func (r *tamperingReceiver) Data(p []byte) error {
	r.piece++
	if p = r.change(r.piece, p); p == nil {
		return nil
	}
	return r.Receiver.Data(p)
}

// begin is Create up to the stream.
func (b *bench) begin(t *testing.T) (*Backup, *replication.Conn, *seal.Key) {
	key, err := newKey(t.Context(), b.backup)
	require.NoError(t, err)
	conn, err := b.primary.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	system, err := conn.Identify(t.Context())
	require.NoError(t, err)
	return &Backup{ID: uuid.New(), System: system.ID, Epoch: epoch, Start: time.Now().UTC(), Wrapped: key.Wrapped}, conn, key
}

func TestWhatDoesNotMatchTheManifestIsNoBackup(t *testing.T) {
	b := setup(t)
	for name, change := range map[string]func(int, []byte) []byte{
		"one byte of one file": func(_ int, p []byte) []byte {
			// A page of zeros would be padding; the version of a database's folder is content.
			return bytes.Replace(p, []byte("15\n"), []byte("16\n"), 1)
		},
		"a piece is lost": func(piece int, p []byte) []byte {
			if piece == 100 {
				return nil
			}
			return p
		},
	} {
		made, conn, key := b.begin(t)
		err := b.receive(t.Context(), tampering{conn, change}, made, key, func(int64) {})
		require.Equal(t, errs.KindDataLoss, errs.KindOf(err), "%s: %v", name, err)
		require.Equal(t, "BACKUP_UNFAITHFUL", errs.ReasonOf(err), name)
	}
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

// A backup can be authentic and yet not hold what its manifest says, if whoever
// wrote it was at fault. The restore does not take the writer's word.
func TestARestoreChecksFilesAgainstTheManifestItself(t *testing.T) {
	b := setup(t)
	made, conn, key := b.begin(t)
	require.NoError(t, b.receive(t.Context(), conn, made, key, func(int64) {}))
	_, raw, err := b.readManifest(t.Context(), made, key)
	require.NoError(t, err)
	text := string(raw)
	at := strings.Index(text, `"Checksum": "`) + len(`"Checksum": "`)
	text = text[:at] + strings.Repeat("0", 64) + text[at+64:]
	end := strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n") + 1
	sum := sha256.Sum256([]byte(text[:end]))
	text = text[:end] + `"Manifest-Checksum": "` + hex.EncodeToString(sum[:]) + "\"}\n"
	require.NoError(t, os.Remove(filepath.Join(b.dir, made.Manifest.Key)))
	made.Manifest, err = b.put(t.Context(), made, key, Object{Key: made.Manifest.Key}, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, b.store(t.Context(), made, key))
	b.requireBroken(t, made, made.Manifest.Key, "a file's checksum")
}
