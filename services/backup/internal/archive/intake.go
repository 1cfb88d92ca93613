package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/carekeep/carekeep/services/backup/internal/manifest"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

const (
	// chunkSize is what passes between goroutines at a time.
	chunkSize = 1 << 20
	// queue is how many chunks may wait for a slow reader; it bounds memory.
	queue = 8
	// writers is how many parts are stored at once: the next one begins while the
	// last one is being synced.
	writers = 2
	// level is zstd's fastest: on two cores compression is the limit, not the disk.
	level = 1
	// maxManifest bounds what a server can make us hold: 256 MiB list a million files.
	maxManifest = 256 << 20
)

// intake is a replication.Receiver that cuts archives into parts and, side by
// side, reads the same bytes as tar to check each file.
type intake struct {
	archive  *Archive
	backup   *Backup
	key      *seal.Key
	progress func(int64)
	limit    int

	ctx    context.Context // ends when storing fails, which cuts the stream
	cancel context.CancelFunc
	group  *errgroup.Group
	slots  chan struct{}
	pool   sync.Pool

	chunk    *chunk
	part     *stream // the part that is being filled
	files    *stream // the same bytes, for the check of files
	inPart   int
	total    int64
	manifest bytes.Buffer

	mu   sync.Mutex // guards backup.Spaces, which part writers fill in
	seen map[string]manifest.File
}

// chunk is read by several goroutines and goes back to the pool after the last.
type chunk struct {
	data    []byte
	readers atomic.Int32
}

func newIntake(ctx context.Context, a *Archive, b *Backup, key *seal.Key, progress func(int64)) *intake {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	in := &intake{
		archive: a, backup: b, key: key, progress: progress, limit: a.PartSize,
		ctx: ctx, cancel: cancel, group: group, slots: make(chan struct{}, writers), seen: map[string]manifest.File{},
	}
	if in.limit == 0 {
		in.limit = partSize
	}
	in.pool.New = func() any { return &chunk{data: make([]byte, 0, chunkSize)} }
	return in
}

// Archive implements replication.Receiver.
func (in *intake) Archive(tablespace, location string) error {
	if err := in.endArchive(); err != nil {
		return err
	}
	in.mu.Lock()
	in.backup.Spaces = append(in.backup.Spaces, Space{ID: tablespace, Location: location})
	in.mu.Unlock()
	prefix := ""
	if tablespace != "" {
		prefix = "pg_tblspc/" + tablespace
	}
	files := newStream(in)
	in.files = files
	// One archive's check ends before the next begins, so seen has one writer at a time.
	in.group.Go(func() error {
		defer close(files.done)
		err := manifest.Walk(files, prefix, in.seen, func(manifest.Entry) error { return nil })
		if err != nil && in.ctx.Err() == nil {
			return unfaithful(err)
		}
		return err
	})
	return nil
}

// Data implements replication.Receiver.
func (in *intake) Data(p []byte) error {
	if in.files == nil {
		return errors.New("data before the first archive")
	}
	in.total += int64(len(p))
	for len(p) > 0 {
		if in.chunk == nil {
			in.chunk = in.pool.Get().(*chunk)
			in.chunk.data = in.chunk.data[:0]
		}
		n := min(len(p), chunkSize-len(in.chunk.data), in.limit-in.inPart-len(in.chunk.data))
		in.chunk.data = append(in.chunk.data, p[:n]...)
		p = p[n:]
		if len(in.chunk.data) == chunkSize || in.inPart+len(in.chunk.data) == in.limit {
			if err := in.flush(); err != nil {
				return err
			}
			in.progress(in.total)
		}
	}
	return nil
}

// Manifest implements replication.Receiver.
func (in *intake) Manifest(p []byte) error {
	if err := in.endArchive(); err != nil {
		return err
	}
	if in.manifest.Len()+len(p) > maxManifest {
		return errors.New("the backup manifest is too large")
	}
	in.manifest.Write(p)
	return nil
}

// flush hands the chunk to both readers, and begins or ends a part.
func (in *intake) flush() error {
	if in.chunk == nil {
		return nil
	}
	if in.part == nil {
		if err := in.beginPart(); err != nil {
			return err
		}
	}
	c := in.chunk
	in.chunk = nil
	c.readers.Store(2)
	in.inPart += len(c.data)
	for _, s := range []*stream{in.part, in.files} {
		select {
		case s.chunks <- c:
		case <-in.ctx.Done():
			return in.ctx.Err()
		}
	}
	if in.inPart == in.limit {
		in.endPart()
	}
	return nil
}

func (in *intake) beginPart() error {
	select {
	case in.slots <- struct{}{}:
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
	part := newStream(in)
	in.part = part
	in.mu.Lock()
	at := len(in.backup.Spaces) - 1
	space := &in.backup.Spaces[at]
	name := space.ID
	if name == "" {
		name = "base"
	}
	number := len(space.Parts)
	o := Object{Key: fmt.Sprintf("%s%s.part%04d", in.backup.prefix(), name, number), Part: number}
	space.Parts = append(space.Parts, o)
	in.mu.Unlock()
	in.group.Go(func() error {
		defer func() { <-in.slots }()
		defer close(part.done)
		stored, err := in.archive.put(in.ctx, in.backup, in.key, o, func(w io.Writer) error {
			_, err := part.WriteTo(w)
			return err
		})
		if err != nil {
			return err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.backup.Spaces[at].Parts[number] = stored
		return nil
	})
	return nil
}

func (in *intake) endPart() {
	if in.part != nil {
		close(in.part.chunks)
		in.part, in.inPart = nil, 0
	}
}

// endArchive ends the archive and waits for the check of its files.
func (in *intake) endArchive() error {
	if in.files == nil {
		return nil
	}
	if err := in.flush(); err != nil {
		return err
	}
	in.endPart()
	files := in.files
	in.files = nil
	close(files.chunks)
	select {
	case <-files.done:
		return nil
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
}

// finish waits until everything is stored. Where the stream failed, it stops the
// writers instead; its error is then theirs, if they were the cause.
func (in *intake) finish(streamed error) error {
	defer in.cancel()
	if streamed == nil {
		streamed = in.endArchive()
	}
	if streamed != nil {
		in.cancel()
	}
	err := in.group.Wait()
	if streamed != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// put seals content into an object and returns it with its size and hash.
func (a *Archive) put(ctx context.Context, b *Backup, key *seal.Key, o Object, content func(io.Writer) error) (Object, error) {
	count := &counter{sum: sha256.New()}
	err := a.Store.Put(ctx, o.Key, func(w io.Writer) error {
		sealed, err := seal.NewWriter(io.MultiWriter(w, count), key, b.place(o), level)
		if err != nil {
			return err
		}
		return errors.Join(content(sealed), sealed.Close())
	})
	if err != nil {
		return Object{}, unavailable(err)
	}
	o.Size, o.Sum = count.size, hex.EncodeToString(count.sum.Sum(nil))
	return o, nil
}

type counter struct {
	size int64
	sum  hash.Hash
}

func (c *counter) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.sum.Write(p)
}
