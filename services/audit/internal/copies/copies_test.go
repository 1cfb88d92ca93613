package copies

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/ledger"
)

func open(t *testing.T) *Folder {
	t.Helper()
	f, err := Open(filepath.Join(t.TempDir(), "copies"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return f
}

func note(size int64, day int) string {
	c := ledger.Checkpoint{Log: "test.example", Size: size, Time: time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC)}
	return c.Text() + "\n— test.example AAAA\n"
}

func TestCheckpointsAreWrittenOnce(t *testing.T) {
	f := open(t)
	newest, err := f.Newest(t.Context())
	require.NoError(t, err)
	require.Empty(t, newest)
	for size, day := range map[int64]int{9: 20, 10: 20, 100: 21, 99: 21} {
		require.NoError(t, f.write(note(size, day)))
		require.NoError(t, f.write(note(size, day)), "the same again is no error")
	}
	newest, err = f.Newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, note(100, 21), newest)

	other := note(100, 21) + "— another AAAA\n"
	require.ErrorIs(t, f.write(other), os.ErrExist, "another checkpoint of the same size")
	newest, err = f.Newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, note(100, 21), newest, "the first one stays")

	files, err := filepath.Glob(filepath.Join(f.dir, "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 4, "nothing temporary is left: %v", files)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o440), info.Mode().Perm())
	require.Error(t, f.write("not a checkpoint"))
}

func TestTheNewestCheckpointIsAlwaysWrittenInTheEnd(t *testing.T) {
	f := open(t)
	f.every = time.Hour // so that all but the first wait
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	f.Keep(note(1, 21))
	require.Eventually(t, func() bool { n, err := f.Newest(t.Context()); return err == nil && n != "" }, 10*time.Second, time.Millisecond)
	for size := range int64(50) {
		f.Keep(note(size+2, 21))
	}
	cancel()
	<-done
	newest, err := f.Newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, note(51, 21), newest)
	require.NoError(t, f.Ready(context.Background()))
}

func TestAFailedCopyIsReportedAndTriedAgain(t *testing.T) {
	f := open(t)
	blocked := filepath.Join(f.dir, "2026-11-21")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600)) // a file where the day's folder should be
	f.every = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	f.Keep(note(1, 21))
	require.Eventually(t, func() bool { return f.Ready(ctx) != nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, os.Remove(blocked))
	require.Eventually(t, func() bool { return f.Ready(ctx) == nil }, 10*time.Second, time.Millisecond)
	cancel()
	<-done
	newest, err := f.Newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, note(1, 21), newest)
}

func TestKeysAreReplacedWhenTheyChange(t *testing.T) {
	f := open(t)
	for i := range 2 {
		text := fmt.Sprintf("key %d\n", i)
		require.NoError(t, f.WriteKeys(text))
		require.NoError(t, f.WriteKeys(text))
		got, err := os.ReadFile(filepath.Join(f.dir, KeyFile))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}

func TestOpenRefusesAFolderItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(filepath.Join(file, "copies"), slog.New(slog.DiscardHandler))
	require.Error(t, err)
}
