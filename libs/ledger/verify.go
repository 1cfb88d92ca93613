package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// maxProblems bounds what a report names; more are only counted.
const maxProblems = 100

// Trust is what a verifier brings along and takes nobody's word for.
type Trust struct {
	Log  string         // the log's name
	Keys note.Verifiers // its verifier keys, pinned
	// Checkpoints that were kept outside the database, in any order. They are
	// what finds a log that was cut back or rewritten together with its checkpoints.
	Kept []Checkpoint
}

// Report is the outcome of a verification.
type Report struct {
	Log         string
	Scope       Scope
	Entries     int64     // all entries
	Whole       int64     // entries whose event was checked against its leaf
	LetGo       int64     // entries that are gone because their time was over, as the log itself says
	Checkpoints int64     // checkpoints with a valid signature over the right root
	Kept        int64     // kept checkpoints that the log agrees with
	Younger     int64     // kept checkpoints that are younger than the export, and were not compared
	Size        int64     // of the newest checkpoint that is right
	Root        tlog.Hash // of that checkpoint
	CreateTime  time.Time // when the export began, as it says itself
	Time        time.Time // of that checkpoint
	Problems    []Problem // in the order of the log; the first 100
	Omitted     int64     // how many more there were
}

// Err returns nil where the log is whole, else an error that names the first problem.
func (r *Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotWhole, r.Problems[0])
}

// ErrNotWhole says that a log was tampered with, or that its export is damaged.
var ErrNotWhole = errors.New("the log is not whole")

// Verify rebuilds the log from an export and holds it to every signature in it
// and to what trust brings along. It needs nothing but the file and the key, and
// a constant amount of memory beside the kept checkpoints and 200 bytes for each run of retention. The error is about
// reading the file; what is wrong with the log is in the report.
func Verify(r io.Reader, trust Trust) (*Report, error) {
	v := newVerification(trust)
	if err := v.run(func(out chan<- chan []checked) error { return readLines(r, out, trust.Keys) }); err != nil {
		return nil, fmt.Errorf("read export: %w", err)
	}
	v.finish()
	return &v.report, nil
}

// run takes what read finds, in its order, while chunks are checked concurrently.
func (v *verification) run(read func(chan<- chan []checked) error) error {
	chunks := make(chan chan []checked, 4*runtime.GOMAXPROCS(0))
	failed := make(chan error, 1)
	go func() {
		defer close(chunks)
		failed <- read(chunks)
	}()
	for chunk := range chunks {
		for _, c := range <-chunk {
			v.take(c)
		}
	}
	return <-failed
}

// checked is a line with those checks done that need no other line; they are
// the costly ones, and run on all cores.
type checked struct {
	number     int64
	line       line
	digest     string // of all lines before, set where the line looks like the end
	problem    *Problem
	checkpoint Checkpoint
	letGo      *LetGo // what a whole entry says about others
}

const chunkLines = 128

// readLines cuts the stream into chunks, has them checked concurrently, and
// passes their results on in order.
func readLines(r io.Reader, out chan<- chan []checked, keys note.Verifiers) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 1<<16), maxLine)
	scan.Split(splitLines)
	digest := sha256.New()
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for number := int64(1); ; {
		texts := make([][]byte, 0, chunkLines)
		first, before := number, ""
		for len(texts) < chunkLines && scan.Scan() {
			text := bytes.Clone(scan.Bytes())
			if bytes.HasPrefix(text, []byte(`{"end"`)) {
				before = hex.EncodeToString(digest.Sum(nil))
			}
			digest.Write(text)
			texts = append(texts, text)
			number++
		}
		if len(texts) == 0 {
			return scan.Err()
		}
		result := make(chan []checked, 1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			result <- checkChunk(texts, first, before, keys)
		}()
		out <- result
	}
}

func checkChunk(texts [][]byte, number int64, digest string, keys note.Verifiers) []checked {
	results := make([]checked, len(texts))
	for i, text := range texts {
		c := &results[i]
		c.number, c.digest = number+int64(i), digest
		var err error
		if c.line, err = parseLine(text); err != nil || text[len(text)-1] != '\n' || !c.line.canonicalEnd(text) {
			c.line = line{}
			c.problem = &Problem{Kind: Malformed, First: -1, Last: -1, Detail: fmt.Sprintf("line %d is damaged or cut off", c.number)}
			continue
		}
		c.check(keys)
	}
	return results
}

// check does what needs no other line.
func (c *checked) check(keys note.Verifiers) {
	switch {
	case c.line.Entry != nil && c.line.Entry.Whole():
		var event *auditv1.Event
		if event, c.problem = c.line.Entry.Check(); c.problem == nil {
			c.letGo = letGoOf(event)
		}
	case c.line.Checkpoint != nil:
		var err error
		if c.checkpoint, err = OpenCheckpoint(c.line.Checkpoint.Note, keys); err != nil {
			c.problem = &Problem{Kind: CheckpointInvalid, First: -1, Last: -1, Detail: c.where() + err.Error()}
		}
	}
}

// where names the line of a file; what came from elsewhere has no lines.
func (c *checked) where() string {
	if c.number == 0 {
		return ""
	}
	return fmt.Sprintf("line %d: ", c.number)
}
