package life

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// exporter writes one practice.
type exporter struct {
	*Life
	practice uuid.UUID
	write    func([]byte) error
	digest   hash.Hash
	rows     map[string]int64
	buffer   bytes.Buffer
}

const (
	exportPage  = 200
	exportChunk = 256 << 10
)

func (x *exporter) run(ctx context.Context) error {
	for after := (store.VersionKey{}); ; {
		var page []store.Document
		err := x.access.Do(ctx, pg.Unit{
			Practice: x.practice, Alone: true,
			Queue: func(b *pgx.Batch) { store.ExportVersions(b, x.practice, after, exportPage, &page) },
		})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		if err := x.page(ctx, page); err != nil {
			return err
		}
		last := page[len(page)-1]
		after = store.VersionKey{Type: last.Type, ID: last.ID, Version: last.Version}
	}
	if err := x.others(ctx); err != nil {
		return err
	}
	var teams []string
	err := x.access.Do(ctx, pg.Unit{
		Practice: x.practice, Alone: true, Queue: func(b *pgx.Batch) { store.ExportTeams(b, x.practice, &teams) },
	})
	if err != nil {
		return err
	}
	for _, line := range teams {
		if err := x.line("care_team", `{"careTeam":`+line+`}`); err != nil {
			return err
		}
	}
	return x.flush()
}

func (x *exporter) page(ctx context.Context, page []store.Document) error {
	list := make([]keys.Wrapped, len(page))
	for i, d := range page {
		list[i] = keys.Wrapped{ID: d.KeyID, Patient: d.Patient, Blob: d.Wrapped}
	}
	ring, err := x.keys.GetAll(ctx, x.practice, list)
	if err != nil {
		return err
	}
	defer func() {
		for _, key := range ring {
			key.Release()
		}
	}()
	for _, d := range page {
		text, err := x.version(d, ring[d.KeyID])
		if err != nil {
			return err
		}
		if err := x.line("versions", text); err != nil {
			return err
		}
		if d.Type == chart.TypeFile && !d.Deleted {
			if err := x.file(ctx, d, ring[d.KeyID]); err != nil {
				return err
			}
		}
	}
	return nil
}

// others writes what is sealed and is no document.
func (x *exporter) others(ctx context.Context) error {
	for at := (store.Place{}); ; {
		var page []store.Stored
		err := x.access.Do(ctx, pg.Unit{
			Practice: x.practice, Alone: true,
			Queue: func(b *pgx.Batch) { store.WalkRest(b, x.practice, at, exportPage, &page) },
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, row := range page {
			if err := x.other(ctx, row); err != nil {
				return err
			}
		}
		last := page[len(page)-1]
		at = store.Place{Patient: last.Patient, Type: last.Type, ID: last.ID, Version: last.Version}
	}
}

func (x *exporter) other(ctx context.Context, row store.Stored) error {
	if row.Type == store.TypeWatchList {
		return nil // who is watched is for nobody's eyes, and means nothing elsewhere
	}
	key, err := x.keys.Get(ctx, x.practice, keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped})
	if err != nil {
		return err
	}
	defer key.Release()
	plain, err := key.Open(envelope.Binding{
		Practice: x.practice, Patient: row.Patient, Type: row.Type, ID: row.ID, Version: row.Version, KeyID: row.KeyID,
	}, row.Sealed)
	if err != nil {
		return err
	}
	defer clear(plain)
	kind, content, err := readable(row.Type, plain)
	if err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{
		"type": row.Type, "id": row.ID, "patient": row.Patient, "version": row.Version, "content": content,
	})
	if err != nil {
		return err
	}
	return x.line(kind, string(line))
}

// readable is what such a row says, as JSON, and what the manifest counts it as.
func readable(rowType string, plain []byte) (kind string, content json.RawMessage, err error) {
	var m proto.Message
	switch rowType {
	case store.TypeRightsRequest:
		m = &recordsv1.RightsRequest{}
	case store.TypeDisclosure:
		m = &recordsv1.Disclosure{}
	case store.TypePatientConsent:
		m = &recordsv1.PatientConsent{}
	default:
		text, err := json.Marshal(string(plain))
		return map[string]string{store.TypeHold: "legal_holds", store.TypeOpening: "glass_openings", store.TypeReferral: "referrals"}[rowType], text, err
	}
	if err := proto.Unmarshal(plain, m); err != nil {
		return "", nil, fmt.Errorf("a stored row is no message of its type")
	}
	content, err = protojson.Marshal(m)
	return "rights", content, err
}

// version is the line of one version; of a deleted one only that it is.
func (x *exporter) version(d store.Document, key *envelope.Key) (string, error) {
	resource := []byte("null")
	if !d.Deleted {
		var err error
		resource, err = key.Open(envelope.Binding{
			Practice: x.practice, Patient: d.Patient, Type: d.Type, ID: d.ID, Version: d.Version, KeyID: d.KeyID,
		}, d.Sealed)
		if err != nil {
			return "", err
		}
		if d.Type == chart.TypeFile { // its content follows, so nobody needs the key
			if resource, err = attach.Public(resource); err != nil {
				return "", err
			}
		}
		if resource, err = fhir.Line(resource); err != nil {
			return "", err
		}
	}
	head := `{"type":"` + d.Type + `","id":"` + d.ID.String() + `","patient":"` + d.Patient.String() + `","version":` + strconv.FormatInt(d.Version, 10) +
		`,"updated":"` + d.Updated.UTC().Format(time.RFC3339Nano) + `","resource":`
	return head + string(resource) + "}", nil
}

// file writes the content of a file, in lines of a part each: where the part begins and its bytes in base64.
func (x *exporter) file(ctx context.Context, d store.Document, key *envelope.Key) error {
	doc := chart.Bare(d)
	var err error
	doc.JSON, err = key.Open(chart.Binding(x.practice, d), d.Sealed)
	if err != nil {
		return err
	}
	defer clear(doc.JSON)
	return attach.Open(x.practice, doc, chart.Pieces(ctx, x.access, x.practice, doc.Place), &fileLines{x: x, id: d.ID})
}

// fileLines writes what is written to it as lines of an export.
type fileLines struct {
	x  *exporter
	id uuid.UUID
	at int64
}

// Write implements io.Writer.
func (f *fileLines) Write(b []byte) (int, error) {
	line := `{"file":"` + f.id.String() + `","at":` + strconv.FormatInt(f.at, 10) + `,"data":"` + base64.StdEncoding.EncodeToString(b) + `"}`
	f.at += int64(len(b))
	return len(b), f.x.line("file_parts", line)
}

func (x *exporter) line(kind, text string) error {
	x.rows[kind]++
	x.buffer.WriteString(text)
	x.buffer.WriteByte('\n')
	if x.buffer.Len() < exportChunk {
		return nil
	}
	return x.flush()
}

func (x *exporter) flush() error {
	if x.buffer.Len() == 0 {
		return nil
	}
	chunk := bytes.Clone(x.buffer.Bytes())
	x.buffer.Reset()
	x.digest.Write(chunk)
	for len(chunk) > 0 { // one resource may be larger than a message
		n := min(len(chunk), exportChunk)
		if err := x.write(chunk[:n]); err != nil {
			return err
		}
		chunk = chunk[n:]
	}
	return nil
}

// Closed is the set of practices that have left.
type Closed struct {
	mu   sync.RWMutex
	list map[uuid.UUID]bool
}

// NewClosed makes an empty set.
func NewClosed() *Closed { return &Closed{list: map[uuid.UUID]bool{}} }

// Guard refuses whoever asks for a practice that has left (pg.Options.Guard).
func (c *Closed) Guard(practice uuid.UUID) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.list[practice] {
		return nil
	}
	return errLeft(nil)
}

// errLeft is the answer for a practice that has left, whoever noticed.
func errLeft(cause error) error {
	return errs.Wrap(cause, errs.KindPrecondition, "PRACTICE_CLOSED", "This practice has left: its records were exported and destroyed.")
}

// Explain gives what the database raised for a practice that leaves the answer of Guard: a replica that has not heard
// of it yet says the same (pg.Options.Explain).
func Explain(raised *pgconn.PgError) error {
	if raised.Code == store.StateLeft {
		return errLeft(raised)
	}
	return nil
}

// add reports whether the practice is new in the set.
func (c *Closed) add(practice uuid.UUID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.list[practice]
	c.list[practice] = true
	return !known
}
