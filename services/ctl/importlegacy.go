package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/carekeep/carekeep/services/ctl/internal/legacy"
)

type importLegacy struct {
	kept
	File              string `arg:"" name:"file" help:"One blob a line, in the format of services/ctl/README.md. It is read twice, so it cannot be standard input."`
	EncryptionKeyFile string `required:"" placeholder:"FILE" help:"The AES key of the older system: 32 bytes, or 64 hexadecimal digits. Nobody else may read the file."`
	MacKeyFile        string `required:"" name:"mac-key-file" placeholder:"FILE" help:"Its key for HMAC-SHA-256, which must be another one; the same format."`
	Doctor            string `placeholder:"ID" help:"The doctor whose patients these become; by default you, if you are a doctor."`
}

// Help says in which order things happen.
func (importLegacy) Help() string {
	return "First every blob is verified and opened in memory. If one of them has no valid MAC, or holds no resource, its line is printed and nothing is sent. " +
		"Then the resources are sent as an ordinary import, which seals them with AES-256-GCM under the keys of their patients and logs each. " +
		"Nothing that was decrypted is written to this machine's disk. An import that broke off is simply run again. " +
		"Once the exit status is 0, destroy the file and its keys."
}

// Run verifies everything before it sends anything.
func (c *importLegacy) Run(ctx context.Context, t *terminal) error {
	path, err := importPath(c.Doctor, "")
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	keys, err := legacy.ReadKeys(c.EncryptionKeyFile, c.MacKeyFile)
	if err != nil {
		return err
	}
	blobs, err := c.verify(ctx, t, keys)
	if err != nil {
		return fmt.Errorf("import %s: %w; nothing was sent", c.File, err)
	}
	t.note("%s: %d blobs are authentic", c.File, blobs)

	m := &migration{file: c.File, keys: keys}
	total, err := upload(ctx, t, client, path, &parcel{
		name: c.File, open: m.open, share: func() string { return megabytes(m.sent.Load()) },
		entry: func(i int64) string { return fmt.Sprintf("line %d", i+1) },
	})
	if err = errors.Join(m.failure(), err); err != nil {
		return fmt.Errorf("import %s: %w", c.File, err)
	}
	t.note("%s: %s", c.File, counts(total))
	if refused := total.GetRefused(); refused > 0 {
		return fmt.Errorf("%d blobs were refused and are not migrated; all others are stored", refused)
	}
	if stored := total.GetCreated() + total.GetUpdated() + total.GetUnchanged(); stored != blobs {
		return fmt.Errorf("%d blobs were verified, but %d are stored: keep the file, and run the import again", blobs, stored)
	}
	return nil
}

// verify opens every blob, prints the line of each that is refused, and counts them.
func (c *importLegacy) verify(ctx context.Context, t *terminal, keys *legacy.Keys) (blobs int64, err error) {
	file, err := os.Open(c.File)
	if err != nil {
		return 0, err
	}
	defer file.Close() //nolint:errcheck // only read from
	refused := 0
	err = keys.Read(file, func(line int, _ []byte, reason error) error {
		blobs++
		if reason != nil {
			refused++
			fmt.Fprintf(t.out, "%s: line %d %v\n", c.File, line, reason)
		}
		return ctx.Err()
	})
	switch {
	case err != nil:
		return 0, err
	case refused > 0:
		return 0, fmt.Errorf("%d of %d blobs are refused", refused, blobs)
	case blobs == 0:
		return 0, errors.New("there is no blob in it")
	}
	return blobs, nil
}

// migration is the file as a bundle. Every blob is verified again: the file may have
// been changed since.
type migration struct {
	file string
	keys *legacy.Keys
	sent atomic.Int64

	mu  sync.Mutex
	err error
}

func (m *migration) open() (io.ReadCloser, error) {
	file, err := os.Open(m.file)
	if err != nil {
		return nil, err
	}
	m.sent.Store(0)
	out, in := io.Pipe()
	go func() {
		err := errors.Join(m.keys.Bundle(in, file), file.Close())
		if err != nil && !errors.Is(err, io.ErrClosedPipe) { // the server's answer says why it reads no more
			m.mu.Lock()
			m.err = err
			m.mu.Unlock()
		}
		_ = in.CloseWithError(err) // breaks the request off, so that half a bundle is not taken for a whole one
	}()
	return &counter{ReadCloser: out, n: &m.sent}, nil
}

// failure is what was wrong with the file while it was sent.
func (m *migration) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}
