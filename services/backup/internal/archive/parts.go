package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/carekeep/carekeep/services/backup/internal/blob"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

// ahead is how many chunks of a part are opened before they are asked for.
const ahead = 16

// read opens one object and gives its content to use, which must read to the end. It
// checks what COMMIT says of the object: size, hash, and its place.
func (a *Archive) read(ctx context.Context, b *Backup, key *seal.Key, o Object, use func(io.Reader) error) error {
	stored, err := a.Store.Get(ctx, o.Key)
	if errors.Is(err, blob.ErrNotFound) {
		return broken(o.Key, err)
	}
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = stored.Close() }() // it was only read
	count := &counter{sum: sha256.New()}
	err = func() error {
		opened, err := seal.NewReader(io.TeeReader(stored, count), key, b.place(o))
		if err != nil {
			return err
		}
		defer opened.Close()
		if err := use(opened); err != nil {
			return err
		}
		if count.size != o.Size || hex.EncodeToString(count.sum.Sum(nil)) != o.Sum {
			return seal.ErrBroken
		}
		return nil
	}()
	switch {
	case err == nil || ctx.Err() != nil:
		return errors.Join(ctx.Err(), err)
	case errors.Is(err, seal.ErrBroken):
		return broken(o.Key, err)
	default:
		return unavailable(err)
	}
}

// parts reads the parts of one archive as one stream. While one part is read the
// next is opened already, so that two cores have work.
type parts struct {
	cancel context.CancelFunc
	queues []chan []byte
	starts []chan struct{}       // closed to let a part begin
	ended  atomic.Pointer[error] // why the stream ended early; stored before the queue is closed

	at    int
	rest  []byte
	whole []byte
	pool  sync.Pool
	group sync.WaitGroup
}

func (a *Archive) open(ctx context.Context, b *Backup, key *seal.Key, objects []Object) *parts {
	ctx, cancel := context.WithCancel(ctx)
	p := &parts{cancel: cancel, queues: make([]chan []byte, len(objects)), starts: make([]chan struct{}, len(objects))}
	for i := range objects {
		p.queues[i], p.starts[i] = make(chan []byte, ahead), make(chan struct{})
	}
	p.pool.New = func() any { return new([chunkSize]byte) }
	for i, o := range objects {
		p.group.Go(func() {
			defer close(p.queues[i])
			select {
			case <-p.starts[i]:
			case <-ctx.Done():
				p.fail(ctx.Err())
				return
			}
			err := a.read(ctx, b, key, o, func(r io.Reader) error { return p.fill(ctx, r, p.queues[i]) })
			if err != nil {
				p.fail(err)
				cancel() // a later part must not seem to follow this one
			}
		})
	}
	for i := range min(2, len(objects)) {
		close(p.starts[i])
	}
	return p
}

func (p *parts) fill(ctx context.Context, r io.Reader, queue chan<- []byte) error {
	for {
		chunk := p.pool.Get().(*[chunkSize]byte)
		n, err := io.ReadFull(r, chunk[:])
		if n > 0 {
			select {
			case queue <- chunk[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Read implements io.Reader. It ends with io.EOF only behind the last part, authenticated to its end.
func (p *parts) Read(out []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.whole != nil {
			p.pool.Put((*[chunkSize]byte)(p.whole[:chunkSize]))
			p.whole = nil
		}
		if p.at == len(p.queues) {
			return 0, io.EOF
		}
		chunk, ok := <-p.queues[p.at]
		if ok {
			p.whole, p.rest = chunk, chunk
			continue
		}
		if err := p.failure(); err != nil {
			return 0, err
		}
		if p.at++; p.at+1 < len(p.starts) {
			close(p.starts[p.at+1])
		}
	}
	n := copy(out, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// fail keeps the first failure; those that follow from it do not matter.
func (p *parts) fail(err error) { p.ended.CompareAndSwap(nil, &err) }

func (p *parts) failure() error {
	if err := p.ended.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *parts) close() {
	p.cancel()
	p.group.Wait()
}
