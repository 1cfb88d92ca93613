package edge

import (
	"context"
	"net/http"
	"time"
)

// Exchange is what is known of one request and its answer. The handlers behind
// the edge add what they learn; the edge logs and traces it at the end.
type Exchange struct {
	// Address is the client's network address, Agent its user agent, Language its Accept-Language.
	Address, Agent, Language string
	// Route is the pattern that matched. The path itself, which holds ids, is never logged.
	Route string
	// Reason is the stable reason of the error that was answered, if any.
	Reason string
	// Cause is what went wrong inside, for the log only.
	Cause error
}

type exchangeKey struct{}

// Of returns the exchange that a request belongs to. Outside of one it is empty.
func Of(ctx context.Context) *Exchange {
	if e, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return e
	}
	return &Exchange{}
}

func withExchange(ctx context.Context, e *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, e)
}

// writer counts what is written and gives each piece its time limit. A limit for
// the whole answer would cut long streams.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	status  int
	// rest is what the handler left of the body; duplex says that it reads on while it answers.
	rest   *remainder
	duplex bool
}

func newWriter(w http.ResponseWriter, limit time.Duration, rest *remainder) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w), limit: limit, rest: rest}
}

// EnableFullDuplex lets a handler read the body while it answers. net/http finds it by ResponseController.
func (w *writer) EnableFullDuplex() error {
	w.duplex = true
	return w.control.EnableFullDuplex()
}

// begin is called before the first byte of an answer.
func (w *writer) begin(status int) {
	w.status = status
	if !w.duplex {
		w.rest.bound()
	}
}

// end is called when the handler is done.
func (w *writer) end() { w.rest.bound() }

// Unwrap lets http.ResponseController find what the server's writer can do.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.begin(status)
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.begin(http.StatusOK)
	}
	w.extend()
	return w.ResponseWriter.Write(p)
}

// FlushError sends what is buffered. Only streams flush, and between two pieces
// of a stream any time may pass.
func (w *writer) FlushError() error {
	if err := w.control.Flush(); err != nil {
		return err
	}
	return w.control.SetWriteDeadline(time.Time{})
}

func (w *writer) extend() {
	// A connection that is gone reports itself in the write that follows.
	_ = w.control.SetWriteDeadline(time.Now().Add(w.limit))
}
