package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// timeFormat has a fixed width of microseconds, so that one time has one spelling.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// maxNote bounds a signed note; ours has about 250 bytes.
const maxNote = 16 << 10

// ErrCheckpoint says that a text is no checkpoint of carekeep.
var ErrCheckpoint = errors.New("malformed checkpoint")

// Checkpoint is a tree head: what a signature says about the log at a moment.
type Checkpoint struct {
	Log  string // the log's name, which is also the name of its key
	Size int64
	Root tlog.Hash
	Time time.Time // when its newest entries were appended; UTC, microseconds
}

// Text returns the text that is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\ntime %s\n", c.Log, c.Size, c.Root, c.Time.UTC().Format(timeFormat))
}

// Tree returns the checkpoint as a tree of sumdb/tlog.
func (c Checkpoint) Tree() tlog.Tree { return tlog.Tree{N: c.Size, Hash: c.Root} }

// Sign returns the checkpoint as a signed note.
func (c Checkpoint) Sign(signer note.Signer) (string, error) {
	if signer.Name() != c.Log {
		return "", fmt.Errorf("sign checkpoint: key is named %q, log %q", signer.Name(), c.Log)
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint of size %d: %w", c.Size, err)
	}
	return string(signed), nil
}

// OpenCheckpoint checks the signature of a note against known keys and returns its checkpoint.
func OpenCheckpoint(signed string, known note.Verifiers) (Checkpoint, error) {
	if len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrCheckpoint, len(signed), maxNote)
	}
	n, err := note.Open([]byte(signed), known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, sig := range n.Sigs {
		if sig.Name == c.Log {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: log %q is signed only by others", ErrCheckpoint, c.Log)
}

// ParseCheckpoint reads the text of a note. It accepts only what [Checkpoint.Text] writes.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return Checkpoint{}, fmt.Errorf("%w: want four lines", ErrCheckpoint)
	}
	c := Checkpoint{Log: lines[0]}
	var err error
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size <= 0 {
		return Checkpoint{}, fmt.Errorf("%w: size %q is not a positive number", ErrCheckpoint, lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: root is not 32 bytes in base64", ErrCheckpoint)
	}
	c.Root = tlog.Hash(root)
	stamp, found := strings.CutPrefix(lines[3], "time ")
	if c.Time, err = time.Parse(timeFormat, stamp); err != nil || !found {
		return Checkpoint{}, fmt.Errorf("%w: time line is not like %q", ErrCheckpoint, "time "+timeFormat)
	}
	// One checkpoint has one text: leading zeros, other base64 endings or an empty name do not pass.
	if c.Log == "" || c.Text() != text {
		return Checkpoint{}, fmt.Errorf("%w: not in its one canonical form", ErrCheckpoint)
	}
	return c, nil
}
