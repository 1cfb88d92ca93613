package rest

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// piece is how much of a long body is held at a time, well below the 1 MiB that a
// chunk may have.
const piece = 256 << 10

// reading takes a body in pieces, each within the time of stall.
type reading struct {
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration

	mu sync.Mutex
	// done says that the body was read to its end, over that nobody wants its rest.
	done, over bool
}

// next fills a piece. Each gets its own buffer, because gRPC may still use the
// one that was sent. io.ReadFull will not do: its error for the end of the body is
// the one with which net/http reports a body that was cut short.
func (u *reading) next() ([]byte, error) {
	if err := u.limit(time.Now().Add(u.stall), nil); err != nil {
		return nil, readError(err)
	}
	buffer := make([]byte, piece)
	n := 0
	for n < len(buffer) {
		m, err := u.body.Read(buffer[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return buffer[:n], u.rest(io.EOF)
		}
		if err != nil {
			return nil, readError(err)
		}
	}
	return buffer[:n], u.rest(nil)
}

// rest lifts the read deadline while the piece is sent: records may take its time.
func (u *reading) rest(err error) error {
	if failed := u.limit(time.Time{}, err); failed != nil {
		return readError(failed)
	}
	return err
}

// limit sets the read deadline, but for a body that is over, whose deadline has passed and stays.
func (u *reading) limit(at time.Time, ended error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = u.done || ended != nil
	if u.over {
		return nil
	}
	return u.control.SetReadDeadline(at)
}

// end breaks off a read that waits, and all later ones; another goroutine may call it.
func (u *reading) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return // a deadline would end the request itself
	}
	u.over = true
	_ = u.control.SetReadDeadline(time.Now()) // a connection that is gone ends the read as well
}

// broken says whether end broke the body off.
func (u *reading) broken() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.over
}
