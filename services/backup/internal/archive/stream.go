package archive

import (
	"errors"
	"io"
)

// stream is one reader's view of the chunks.
type stream struct {
	in     *intake
	chunks chan *chunk
	done   chan struct{} // closed when the reader has ended

	current *chunk
	rest    []byte
}

func newStream(in *intake) *stream {
	return &stream{in: in, chunks: make(chan *chunk, queue), done: make(chan struct{})}
}

// next waits for a chunk; the end of the stream is io.EOF.
func (s *stream) next() error {
	s.release()
	select {
	case c, ok := <-s.chunks:
		if !ok {
			return io.EOF
		}
		s.current, s.rest = c, c.data
		return nil
	case <-s.in.ctx.Done():
		return s.in.ctx.Err()
	}
}

func (s *stream) release() {
	if s.current != nil && s.current.readers.Add(-1) == 0 {
		s.in.pool.Put(s.current)
	}
	s.current, s.rest = nil, nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (s *stream) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if err := s.next(); errors.Is(err, io.EOF) {
			return written, nil
		} else if err != nil {
			return written, err
		}
		n, err := w.Write(s.rest)
		written += int64(n)
		if err != nil {
			s.release()
			return written, err
		}
	}
}
