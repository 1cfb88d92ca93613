package archive

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

// Backup is what a COMMIT object says. Names, positions and sizes only: it can be
// listed without any key.
type Backup struct {
	ID          uuid.UUID `json:"id"`
	System      string    `json:"system_id"`
	Epoch       int       `json:"epoch"`
	Postgres    int       `json:"postgres_version"`
	Start       time.Time `json:"start_time"`
	End         time.Time `json:"end_time"`
	StartLSN    string    `json:"start_lsn"`
	StopLSN     string    `json:"stop_lsn"`
	Timeline    uint32    `json:"timeline"`
	SourceBytes int64     `json:"source_bytes"`
	StoredBytes int64     `json:"stored_bytes"`
	Files       int64     `json:"file_count"`
	Wrapped     string    `json:"wrapped_key"`
	Spaces      []Space   `json:"tablespaces"` // in the order they came; the data directory is one
	Manifest    Object    `json:"manifest"`
}

// Space is the tar stream of one tablespace, cut into parts.
type Space struct {
	ID       string   `json:"id,omitempty"`       // object id; "" for the data directory
	Location string   `json:"location,omitempty"` // on the primary
	Parts    []Object `json:"parts"`
}

// Object is one stored object.
type Object struct {
	Key  string `json:"key"`
	Part int    `json:"part"`
	Size int64  `json:"size"`
	Sum  string `json:"sha256"`
}

// commitHead is the first line of a COMMIT; the second is the Backup, the third an
// HMAC-SHA-256 of both under a key derived from the data key.
const commitHead = "carekeep-backup-commit/1\n"

const commitName = "COMMIT"

// prefix is the folder of a backup's objects.
func prefix(system string, epoch int, id uuid.UUID) string {
	return fmt.Sprintf("%s/%d/base/%s/", system, epoch, id)
}

func (b *Backup) prefix() string { return prefix(b.System, b.Epoch, b.ID) }

func (b *Backup) place(o Object) seal.Place {
	return seal.Place{System: b.System, Backup: b.ID, Key: o.Key, Part: o.Part}
}

func encodeCommit(b *Backup, key *seal.Key) ([]byte, error) {
	body, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	text := append([]byte(commitHead), body...)
	text = append(text, '\n')
	mac, err := commitMAC(text, key)
	if err != nil {
		return nil, err
	}
	return append(hex.AppendEncode(text, mac), '\n'), nil
}

func commitMAC(text []byte, key *seal.Key) ([]byte, error) {
	secret, err := key.Derive("commit")
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(text)
	return mac.Sum(nil), nil
}

// commitCheck checks the HMAC of a COMMIT.
type commitCheck func(*seal.Key) error

// decodeCommit reads a COMMIT without checking its HMAC, as listing does. The
// returned check does that, and a restore calls it before it believes anything.
func decodeCommit(raw []byte) (b *Backup, check commitCheck, err error) {
	body, ok := bytes.CutPrefix(raw, []byte(commitHead))
	if !ok || len(body) == 0 || body[len(body)-1] != '\n' {
		return nil, nil, errors.New("it is not a COMMIT of a known version")
	}
	end := bytes.IndexByte(body, '\n')
	want, err := hex.DecodeString(string(bytes.TrimSuffix(body[end+1:], []byte("\n"))))
	if err != nil || len(want) != sha256.Size {
		return nil, nil, errors.New("it has no HMAC")
	}
	b = &Backup{}
	d := json.NewDecoder(bytes.NewReader(body[:end]))
	d.DisallowUnknownFields()
	if err := d.Decode(b); err != nil {
		return nil, nil, err
	}
	signed := raw[:len(commitHead)+end+1]
	return b, func(key *seal.Key) error {
		mac, err := commitMAC(signed, key)
		if err != nil {
			return err
		}
		if !hmac.Equal(mac, want) {
			return seal.ErrBroken
		}
		return nil
	}, nil
}
