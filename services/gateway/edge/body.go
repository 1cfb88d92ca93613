package edge

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// remainder is what may be left of a request's body when its answer begins. net/http reads what a handler left
// of an HTTP/1 body before it answers and before it takes the next request, and has no limit of time for it, so
// that a body that is announced and never sent would hold the connection for ever.
type remainder struct {
	io.ReadCloser
	// over says that reading ended, in order or not.
	over     atomic.Bool
	control  *http.ResponseController
	patience time.Duration
}

// newRemainder watches the body of r; nil where there is none to wait for. HTTP/2 resets the stream instead.
func newRemainder(w http.ResponseWriter, r *http.Request, patience time.Duration) *remainder {
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &remainder{ReadCloser: r.Body, control: http.NewResponseController(w), patience: patience}
}

// Read implements io.Reader.
func (b *remainder) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.over.Store(true)
	}
	return n, err
}

// bound gives the rest of the body its time. Beyond the end of a body a deadline would end the request, and
// one that has passed is to stay.
func (b *remainder) bound() {
	if b != nil && !b.over.Load() {
		_ = b.control.SetReadDeadline(time.Now().Add(b.patience)) // a connection that is gone reads nothing either
	}
}
