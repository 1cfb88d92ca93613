package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// pieces cuts ciphertext into the pieces that are stored.
type pieces struct {
	put func(n int, sealed []byte) error
	buf []byte
	n   int
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		take := min(piece-len(p.buf), len(rest))
		p.buf = append(p.buf, rest[:take]...)
		rest = rest[take:]
		if len(p.buf) == piece {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	if err := p.put(p.n, p.buf); err != nil {
		return err
	}
	p.n++
	p.buf = p.buf[:0]
	return nil
}

// reader joins stored pieces; next returns none beyond the last one. It keeps what went wrong
// with reading apart from what is wrong with the content.
type reader struct {
	next func(n int) ([]byte, error)
	n    int
	rest []byte
	err  error
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		r.rest, r.err = r.next(r.n)
		if r.err != nil {
			return 0, r.err
		}
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		r.n++
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// opened gives verified content in chunks. It is one chunk ahead of what it gave, so that
// the last one stays here until the whole is known to be right.
type opened struct {
	in    io.Reader
	want  File
	sum   hash.Hash
	size  int64
	ahead []byte
	ended bool
}

var errContent = errors.New("the content is not what was stored")

func open(f File, aad []byte, in io.Reader) (*opened, error) {
	stream, err := subtle.NewAESGCMHKDF(f.Key, "SHA256", keySize, segment, 0)
	if err != nil {
		return nil, err
	}
	plain, err := stream.NewDecryptingReader(in, aad)
	if err != nil {
		return &opened{in: failing{}}, nil //nolint:nilerr // what is stored is broken, which next says
	}
	return &opened{in: plain, want: f, sum: sha256.New()}, nil
}

// failing is a stream whose start is broken.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errContent }

func (o *opened) next() ([]byte, error) {
	if o.ended {
		return nil, io.EOF
	}
	for {
		chunk := make([]byte, segment)
		n, err := io.ReadFull(o.in, chunk)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		chunk = chunk[:n]
		o.size += int64(n)
		o.sum.Write(chunk)
		if err != nil { // the end
			o.ended = true
			if o.size != o.want.Size || hex.EncodeToString(o.sum.Sum(nil)) != o.want.SHA256 {
				return nil, errContent
			}
			if out := append(o.ahead, chunk...); len(out) > 0 {
				return out, nil
			}
			return nil, io.EOF
		}
		out := o.ahead
		o.ahead = chunk
		if out != nil {
			return out, nil
		}
	}
}
