package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Format names the export format and its version; a reader refuses every other.
const Format = "carekeep-audit-export/1"

// Scope says which entries of an export must be whole.
type Scope string

const (
	// ScopeFull holds every entry whole, with index columns, and every complete tile.
	ScopeFull Scope = "full"
	// ScopePractice holds one practice's entries whole, and of the others the leaf hash.
	ScopePractice Scope = "practice"
)

// maxLine bounds one line of an export; an event has a few hundred bytes.
const maxLine = 8 << 20

// Header is the first line of an export.
type Header struct {
	Format string `json:"format"`
	Log    string `json:"log"`
	Scope  Scope  `json:"scope"`
	// CreateTime is when the export began, by the clock of whoever made it. A log goes on
	// growing: checkpoints that were kept elsewhere and are younger say nothing about the export.
	CreateTime time.Time `json:"create_time"`
}

// Settle is how long to wait between the time in the header and the reading of the
// log: an append that had begun by then is committed, and so in the export.
const Settle = 2 * time.Second

// End is the last line: a cut-off download cannot be taken for a whole one. The
// digest is SHA-256 over all bytes before this line. It finds damage, not
// tampering; signatures do that.
type End struct {
	Entries     int64  `json:"entries"`
	Checkpoints int64  `json:"checkpoints"`
	SHA256      string `json:"sha256"`
}

type tileLine struct {
	Level  int    `json:"level"`
	Index  int64  `json:"index"`
	Hashes []byte `json:"hashes"`
}

type checkpointLine struct {
	Note string `json:"note"`
}

// line is a line of an export: exactly one member is set.
type line struct {
	Header     *Header         `json:"header,omitempty"`
	Entry      *Entry          `json:"entry,omitempty"`
	Tile       *tileLine       `json:"tile,omitempty"`
	Checkpoint *checkpointLine `json:"checkpoint,omitempty"`
	End        *End            `json:"end,omitempty"`
}

// Writer writes an export. The order is: header; entries by number; after an
// entry the tiles that it completed, if the scope is full; after the last entry
// that a checkpoint covers that checkpoint; end. A reader so needs no more
// memory for a long log than for a short one.
type Writer struct {
	out    *bufio.Writer
	digest hash.Hash
	end    End
}

// NewWriter writes the header and returns the writer.
func NewWriter(w io.Writer, log string, scope Scope, now time.Time) (*Writer, error) {
	digest := sha256.New()
	x := &Writer{out: bufio.NewWriterSize(w, 1<<16), digest: digest}
	return x, x.write(line{Header: &Header{Format: Format, Log: log, Scope: scope, CreateTime: now.UTC()}})
}

// Entry writes an entry.
func (w *Writer) Entry(e Entry) error {
	w.end.Entries++
	return w.write(line{Entry: &e})
}

// Tile writes a complete tile.
func (w *Writer) Tile(t Tile) error {
	return w.write(line{Tile: &tileLine{Level: t.Level, Index: t.Index, Hashes: t.Hashes}})
}

// Checkpoint writes a signed note.
func (w *Writer) Checkpoint(signed string) error {
	w.end.Checkpoints++
	return w.write(line{Checkpoint: &checkpointLine{Note: signed}})
}

// Close writes the end. An export without it is refused, so call it only when everything is written.
func (w *Writer) Close() error {
	w.end.SHA256 = hex.EncodeToString(w.digest.Sum(nil))
	if err := w.write(line{End: &w.end}); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

func (w *Writer) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode export line: %w", err)
	}
	text = append(text, '\n')
	w.digest.Write(text)
	if _, err := w.out.Write(text); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

var errLine = errors.New("not a line of an export")

// parseLine reads one line, strictly: one known member, no unknown fields, nothing after it.
func parseLine(text []byte) (line, error) {
	if l, ok := fastEntry(text); ok {
		return l, nil
	}
	return decodeLine(text)
}

// decodeLine is parseLine for every spelling.
func decodeLine(text []byte) (line, error) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		// The cause may quote the line, which may hold an event.
		return line{}, errLine
	}
	if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
		return line{}, errLine
	}
	members := 0
	for _, set := range []bool{l.Header != nil, l.Entry != nil, l.Tile != nil, l.Checkpoint != nil, l.End != nil} {
		if set {
			members++
		}
	}
	if members != 1 {
		return line{}, errLine
	}
	return l, nil
}

// canonicalEnd reports whether an end is spelled as the writer spells it: no digest covers it.
func (l line) canonicalEnd(text []byte) bool {
	if l.End == nil {
		return true
	}
	want, err := json.Marshal(l)
	return err == nil && string(text) == string(want)+"\n"
}

// splitLines is a bufio.SplitFunc that keeps the newline, so that a last line
// that was cut off can be told from a whole one.
func splitLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
