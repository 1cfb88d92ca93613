// Package seal is the format of a backup's objects: a header with the wrapped
// data key, then zstd-compressed content under a streaming AEAD (Tink's AES256-GCM-HKDF
// with segments of 1 MiB). Each object is bound to its system, backup, key and part, so
// that none opens in the place of another.
package seal

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

const (
	format      = "carekeep-backup/1"
	magic       = "CKBACKUP"
	version     = 1
	segmentSize = 1 << 20
	keySize     = 32
	// maxHeader and maxWindow bound what a changed object can make a reader allocate.
	maxHeader = 4 << 10
	maxWindow = 64 << 20
)

// ErrBroken says that an object was changed, cut, or stands in the place of another.
var ErrBroken = errors.New("the object fails its integrity check")

// Key is the data key of one backup.
type Key struct {
	raw     []byte
	Wrapped string // as transit wrapped it
}

// NewKey takes a data key of 32 bytes; it owns raw, and Wipe overwrites it.
func NewKey(raw []byte, wrapped string) (*Key, error) {
	if len(raw) != keySize || wrapped == "" || len(wrapped) > maxHeader/2 {
		clear(raw)
		return nil, errors.New("seal: a data key has 32 bytes and a wrapped form")
	}
	return &Key{raw: raw, Wrapped: wrapped}, nil
}

// Wipe overwrites the key.
func (k *Key) Wipe() { clear(k.raw) }

// Derive makes a key for another purpose than sealing objects.
func (k *Key) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.raw, nil, format+"/"+purpose, keySize)
}

// Place is what an object is bound to.
type Place struct {
	System string
	Backup uuid.UUID
	Key    string
	Part   int
}

func (p Place) associated() []byte {
	var out []byte
	for _, field := range []string{format, p.System, p.Backup.String(), p.Key} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
		out = append(out, field...)
	}
	return binary.BigEndian.AppendUint64(out, uint64(p.Part))
}

type header struct {
	Wrapped string `json:"wrapped_key"`
}

// Writer compresses and seals into out. The object is whole only after Close.
type Writer struct {
	compress *zstd.Encoder
	encrypt  io.WriteCloser
	buffer   *bufio.Writer
}

// NewWriter writes the header and returns the rest. Level is zstd's, 1 to 3 in its own scale.
func NewWriter(out io.Writer, key *Key, at Place, level int) (*Writer, error) {
	text, err := json.Marshal(header{key.Wrapped})
	if err != nil {
		return nil, err
	}
	head := append([]byte(magic), version)
	head = binary.BigEndian.AppendUint32(head, uint32(len(text)))
	if _, err := out.Write(append(head, text...)); err != nil {
		return nil, err
	}
	aead, err := subtle.NewAESGCMHKDF(key.raw, "SHA256", keySize, segmentSize, 0)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	encrypt, err := aead.NewEncryptingWriter(out, at.associated())
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	buffer := bufio.NewWriterSize(encrypt, segmentSize)
	compress, err := zstd.NewWriter(buffer,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(false)) // the AEAD is the check
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Writer{compress, encrypt, buffer}, nil
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) { return w.compress.Write(p) }

// Close writes the last segment. It does not close what is below.
func (w *Writer) Close() error {
	if err := w.compress.Close(); err != nil {
		return err
	}
	if err := w.buffer.Flush(); err != nil {
		return err
	}
	return w.encrypt.Close()
}

// Reader opens an object. What it returns is authenticated, and the object is
// complete once it returns io.EOF. Every error about content is ErrBroken.
type Reader struct {
	decompress *zstd.Decoder
	source     *source
}

// source tells errors of reading from errors of content.
type source struct {
	in  io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// NewReader checks the header against the key and place.
func NewReader(in io.Reader, key *Key, at Place) (*Reader, error) {
	s := &source{in: in}
	head := make([]byte, len(magic)+1+4)
	if _, err := io.ReadFull(s, head); err != nil {
		return nil, s.class(err)
	}
	size := binary.BigEndian.Uint32(head[len(magic)+1:])
	if string(head[:len(magic)]) != magic || head[len(magic)] != version || size > maxHeader {
		return nil, ErrBroken
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(s, text); err != nil {
		return nil, s.class(err)
	}
	// Compared as bytes: every bit of a header counts, and there is one way to write it.
	if want, err := json.Marshal(header{key.Wrapped}); err != nil || !bytes.Equal(text, want) {
		return nil, ErrBroken
	}
	aead, err := subtle.NewAESGCMHKDF(key.raw, "SHA256", keySize, segmentSize, 0)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	decrypt, err := aead.NewDecryptingReader(s, at.associated())
	if err != nil {
		return nil, s.class(err)
	}
	decompress, err := zstd.NewReader(decrypt, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, s.class(err)
	}
	return &Reader{decompress, s}, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.decompress.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.source.class(err)
	}
	return n, err
}

// Close frees the decoder.
func (r *Reader) Close() { r.decompress.Close() }

func (s *source) class(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}
