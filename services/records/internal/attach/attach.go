// Package attach stores and gives back files of patients as streams: sealed in segments while they
// come in, verified segment by segment before anything leaves. It holds a few pieces of a file in memory and never
// the whole. What a file may be is decided here too.
package attach

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/sjson"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/places"
)

const (
	// MaxBytes is the longest file.
	MaxBytes = 100 << 20
	// segment is a ciphertext segment of the stream, piece what one row of the database holds.
	segment = 256 << 10
	piece   = 512 << 10
	keySize = 32
	// concurrent uploads and downloads of one replica, and how many of them are one user's: each holds a few
	// pieces in memory, and may take an hour.
	concurrent = 64
	perUser    = 8
)

var (
	errLong  = errs.New(errs.KindTooLarge, "DOCUMENT_TOO_LARGE", "A document has at most 100 MiB (104857600 bytes): send it in parts.")
	errEmpty = errs.New(errs.KindInvalid, "DOCUMENT_EMPTY", "The document has no content.")
	errSum   = errs.New(errs.KindInvalid, "DIGEST_MISMATCH", "The content that arrived has another SHA-256: send it again.").
			WithField("sha256", "is not that of the content")
	errCrowded = errs.New(errs.KindLimited, "DOCUMENTS_BUSY", "Too many documents are on their way at once: try again in a moment.").WithRetry(time.Second)
	errYourOwn = errs.New(errs.KindLimited, "DOCUMENTS_BUSY", "Too many documents of this user are on their way: wait until one has arrived.").WithRetry(time.Second)
	errBroken  = errs.New(errs.KindDataLoss, "SEAL_BROKEN", "the stored document fails its integrity check")
)

// File is what is known of a file beside its content; it is stored sealed.
type File struct {
	Name      string `json:"fileName"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	// Key opens the content. It leaves this package only under the patient's data key.
	Key []byte `json:"key"`
}

// Parse reads a stored File.
func Parse(d chart.Document) (File, error) {
	var f File
	return f, json.Unmarshal(d.JSON, &f)
}

// Public returns a stored File without its key, for an export that holds the content.
func Public(stored []byte) ([]byte, error) { return sjson.DeleteBytes(stored, "key") }

// Files stores and reads files. Safe for concurrent use.
type Files struct {
	chart  *chart.Chart
	places *places.Places
}

// New makes a Files.
func New(c *chart.Chart) *Files {
	return &Files{chart: c, places: places.New(places.Options{Limit: concurrent, Each: perUser, Crowded: errCrowded, YourOwn: errYourOwn})}
}

func (s *Files) enter(ctx context.Context) (leave func(), err error) {
	who := places.Person{User: uuid.New()} // a patient's token names nobody, so it counts by itself
	if c, ok := caller.From(ctx); ok {
		who = places.Person{Practice: c.Practice, User: c.User}
	}
	return s.places.Take(who)
}

// Options say what a client uploads.
type Options struct {
	Patient   uuid.UUID
	Name      string
	MediaType string
	SHA256    string // optional
	Request   uuid.UUID
}

// Upload stores a file. It fails without leaving anything but pieces that nobody can open, which
// it removes, or the next upload of the practice does a day later.
func (s *Files) Upload(ctx context.Context, o Options, in io.Reader) (doc chart.Document, err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return doc, err
	}
	defer leave()
	u, err := s.chart.StartUpload(ctx, o.Patient)
	if err != nil {
		return doc, err
	}
	defer func() {
		if err != nil {
			s.chart.AbandonUpload(ctx, u)
		}
	}()
	f := File{Name: o.Name, MediaType: o.MediaType, Key: make([]byte, keySize)}
	_, _ = rand.Read(f.Key) // it never fails
	defer clear(f.Key)
	out := &pieces{put: func(n int, sealed []byte) error { return s.chart.PutPiece(ctx, u, n, sealed) }}
	if err := seal(&f, binding(u.Practice, o.Patient, u.ID), in, out); err != nil {
		return doc, err
	}
	if o.SHA256 != "" && o.SHA256 != f.SHA256 {
		return doc, errSum
	}
	content, err := json.Marshal(f)
	if err != nil {
		return doc, err
	}
	once := chart.Request{ID: o.Request, Content: fmt.Appendf(nil, "file\x00%s\x00%s\x00%s\x00%s", o.Patient, f.SHA256, f.MediaType, f.Name)}
	return s.chart.FinishUpload(ctx, u, once, out.n, content)
}

// seal reads the content, checks it and writes its ciphertext.
func seal(f *File, aad []byte, in io.Reader, out *pieces) error {
	head := make([]byte, sniffBytes)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if head = head[:n]; n == 0 {
		return errEmpty
	}
	if err := checkContent(f.MediaType, head); err != nil {
		return err
	}
	stream, err := subtle.NewAESGCMHKDF(f.Key, "SHA256", keySize, segment, 0)
	if err != nil {
		return err
	}
	sealing, err := stream.NewEncryptingWriter(out, aad)
	if err != nil {
		return err
	}
	sum := sha256.New()
	f.Size, err = io.Copy(io.MultiWriter(sealing, sum), io.LimitReader(io.MultiReader(bytes.NewReader(head), in), MaxBytes+1))
	switch {
	case err != nil:
		return err
	case f.Size > MaxBytes:
		return errLong
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := sealing.Close(); err != nil {
		return err
	}
	return out.flush()
}

// binding is what a file's ciphertext is bound to: of a label and fields of one length each.
func binding(practice, patient, document uuid.UUID) []byte {
	out := append([]byte("carekeep/file/1"), practice[:]...)
	out = append(out, patient[:]...)
	return append(out, document[:]...)
}

// Download gives a file to out, from the start to the last byte, and says before that what
// it is. Where the stored file is not what was stored, it breaks off with DATA_LOSS and a critical event.
func (s *Files) Download(ctx context.Context, at chart.Place, begin func(chart.Document) error, out io.Writer) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	doc, err := s.chart.Read(ctx, at)
	if err != nil {
		return err
	}
	_, v, err := chart.View(ctx)
	if err != nil {
		return err
	}
	return s.Copy(ctx, v.Practice, doc, &lazy{Writer: out, begin: func() error { return begin(doc) }})
}

// Copy gives the content of a file whose document the caller has, likewise.
func (s *Files) Copy(ctx context.Context, practice uuid.UUID, doc chart.Document, out io.Writer) error {
	err := Open(practice, doc, s.chart.Pieces(ctx, practice, doc.Place), out)
	if errors.Is(err, errBroken) {
		return s.chart.BrokenFile(ctx, practice, doc, errBroken)
	}
	return err
}

// lazy calls begin before the first byte.
type lazy struct {
	io.Writer
	begin func() error
}

func (l *lazy) Write(b []byte) (int, error) {
	if l.begin != nil {
		if err := l.begin(); err != nil {
			return 0, err
		}
		l.begin = nil
	}
	return l.Writer.Write(b)
}

// Open verifies a file piece by piece and writes its content. No byte that was changed leaves, and
// the last piece only once length and digest of all are right; otherwise it ends in DATA_LOSS.
func Open(practice uuid.UUID, doc chart.Document, next func(n int) ([]byte, error), out io.Writer) error {
	f, err := Parse(doc)
	if err != nil {
		return errBroken
	}
	defer clear(f.Key)
	stored := &reader{next: next}
	content, err := open(f, binding(practice, doc.Patient, doc.ID), stored)
	if err != nil {
		return errBroken
	}
	for {
		chunk, err := content.next()
		switch {
		case stored.err != nil:
			return stored.err // the database's, not the file's
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errBroken
		}
		if _, err := out.Write(chunk); err != nil {
			return err
		}
	}
}
