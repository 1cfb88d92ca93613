package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Receiver takes a base backup as it comes. Data belongs to the connection and
// is good until the call returns. An error ends the backup.
type Receiver interface {
	// Archive begins the tar stream of a tablespace: its object id, and where it lies on the
	// primary; both empty for the data directory.
	Archive(tablespace, location string) error
	// Data is a piece of the archive's tar stream.
	Data(p []byte) error
	// Manifest is a piece of the manifest, which comes after all archives.
	Manifest(p []byte) error
}

// command asks for one self-contained stream. WAIT false: we store the log ourselves, and
// with a failing archiver WAIT true hangs. The log comes with the backup (WAL true).
// TABLESPACE_MAP: links come as a file that a restore rewrites, or they would point
// at the primary's paths.
const command = "BASE_BACKUP (LABEL '%s', CHECKPOINT 'fast', WAL true, WAIT false, TABLESPACE_MAP true, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')"

// BaseBackup runs one and returns where it starts and stops. Needs PostgreSQL 15.
func (c *Conn) BaseBackup(ctx context.Context, label string, to Receiver) (start, stop Position, err error) {
	if strings.ContainsAny(label, "'\\\n") {
		return start, stop, errors.New("replication: the label must be plain text")
	}
	frontend := c.pg.Frontend()
	frontend.Send(&pgproto3.Query{String: fmt.Sprintf(command, label)})
	if err := frontend.Flush(); err != nil {
		return start, stop, fmt.Errorf("replication: BASE_BACKUP: %w", err)
	}
	b := &baseBackup{to: to}
	for !b.done {
		message, err := c.pg.ReceiveMessage(ctx)
		if err != nil {
			return start, stop, fmt.Errorf("replication: BASE_BACKUP: %w", err)
		}
		if err := b.take(message); err != nil {
			return start, stop, err
		}
	}
	if len(b.positions) != 2 || !b.copied {
		return start, stop, errors.New("replication: BASE_BACKUP: the server ended it early")
	}
	return b.positions[0], b.positions[1], nil
}

// baseBackup is the state of the answer: a result set with the start, one with the
// tablespaces, the copy stream, one with the stop.
type baseBackup struct {
	to                     Receiver
	set                    int
	locations              map[string]string
	positions              []Position
	manifest, copied, done bool
}

func (b *baseBackup) take(message pgproto3.BackendMessage) error {
	switch m := message.(type) {
	case *pgproto3.DataRow:
		return b.row(m.Values)
	case *pgproto3.CommandComplete:
		b.set++
	case *pgproto3.CopyData:
		return b.copy(m.Data)
	case *pgproto3.CopyDone:
		b.copied = true
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("replication: BASE_BACKUP: %w", pgconn.ErrorResponseToPgError(m))
	case *pgproto3.ReadyForQuery:
		b.done = true
	}
	return nil
}

func (b *baseBackup) row(values [][]byte) error {
	if b.set == 1 && !b.copied { // tablespaces: object id, location, size; the data directory has neither
		if len(values) != 3 {
			return errors.New("replication: a tablespace has three columns")
		}
		if b.locations == nil {
			b.locations = map[string]string{}
		}
		b.locations[string(values[0])] = string(values[1])
		return nil
	}
	at, err := position(values)
	if err != nil {
		return err
	}
	b.positions = append(b.positions, at)
	return nil
}

func (b *baseBackup) copy(data []byte) error {
	m, err := parse(data)
	if err != nil {
		return err
	}
	switch {
	case m.kind == kindArchive:
		location, known := b.locations[m.tablespace]
		if !known || location != m.location {
			return fmt.Errorf("replication: archive of an unannounced tablespace %q", m.tablespace)
		}
		return b.to.Archive(m.tablespace, m.location)
	case m.kind == kindManifest:
		b.manifest = true
	case m.kind == kindData && b.manifest:
		return b.to.Manifest(m.data)
	case m.kind == kindData:
		return b.to.Data(m.data)
	}
	return nil
}

// The messages inside the copy stream of PostgreSQL 15 and later.
const (
	kindArchive  = 'n'
	kindManifest = 'm'
	kindData     = 'd'
	kindProgress = 'p'
)

type message struct {
	kind                 byte
	tablespace, location string // kindArchive
	data                 []byte // kindData
}

func parse(data []byte) (message, error) {
	if len(data) == 0 {
		return message{}, errors.New("replication: empty message in the copy stream")
	}
	m, body := message{kind: data[0]}, data[1:]
	switch m.kind {
	case kindData:
		m.data = body
		return m, nil
	case kindManifest:
		if len(body) == 0 {
			return m, nil
		}
	case kindProgress:
		if len(body) == 8 && int64(binary.BigEndian.Uint64(body)) >= 0 {
			return m, nil
		}
	case kindArchive:
		// "base.tar" or "{object id}.tar", then the location; each ends with a zero.
		name, rest, ok := bytes.Cut(body, []byte{0})
		location, end, closed := bytes.Cut(rest, []byte{0})
		id, isTar := strings.CutSuffix(string(name), ".tar")
		if !ok || !closed || len(end) != 0 || !isTar {
			break
		}
		m.tablespace, m.location = id, string(location)
		if id == "base" {
			m.tablespace = ""
			return m, nil
		}
		if id != "" && strings.Trim(id, "0123456789") == "" && strings.HasPrefix(m.location, "/") {
			return m, nil
		}
	}
	return message{}, fmt.Errorf("replication: message %q in the copy stream makes no sense", m.kind)
}
