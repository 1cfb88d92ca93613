package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// piece is how much of a bundle is held at a time, well below the 1 MiB that a
// chunk may have.
const piece = 256 << 10

// importer streams a bundle of any size to records and its answers back, both at once.
type importer struct {
	records recordsv1.RecordsServiceClient
	stall   time.Duration
}

func (i *importer) serve(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		Fail(w, r, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error"))
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stream, err := i.records.ImportBundle(ctx)
	if err != nil {
		Fail(w, r, err)
		return
	}
	query := r.URL.Query()
	up := &upload{stream: stream, body: r.Body, control: control, stall: i.stall}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		err := up.run(&recordsv1.ImportOptions{Doctor: query.Get("doctor"), Patient: query.Get("patient")})
		if err != nil {
			// Ending the stream in order would tell records that the bundle is complete.
			cancel(err)
		}
	}()
	answer(ctx, stream, w, r)
	cancel(nil)
	select {
	case <-sent:
	default:
		// The body must not be read after the handler returns. This ends a read that waits.
		_ = control.SetReadDeadline(time.Now())
		<-sent
	}
}

// upload sends the body in pieces.
type upload struct {
	stream  recordsv1.RecordsService_ImportBundleClient
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration
}

func (u *upload) run(options *recordsv1.ImportOptions) error {
	err := u.send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Options{Options: options}})
	for err == nil {
		var data []byte
		data, err = u.next()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if len(data) > 0 {
			if err := u.send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: data}}); err != nil {
				return ended(err)
			}
		}
		if last {
			return u.stream.CloseSend()
		}
	}
	return ended(err)
}

func (u *upload) send(m *recordsv1.ImportBundleRequest) error { return u.stream.Send(m) }

// ended hides the error with which Send says that records has ended the stream:
// the reason comes with the answers.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// next fills a piece. Each gets its own buffer, because gRPC may still use the
// one that was sent. io.ReadFull will not do: its error for the end of the body is
// the one with which net/http reports a body that was cut short.
func (u *upload) next() ([]byte, error) {
	if err := u.control.SetReadDeadline(time.Now().Add(u.stall)); err != nil {
		return nil, readError(err, 0)
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
			return nil, readError(err, 0)
		}
	}
	return buffer[:n], u.rest(nil)
}

// rest lifts the read deadline while the piece is sent: records may take its time.
func (u *upload) rest(err error) error {
	if failed := u.control.SetReadDeadline(time.Time{}); failed != nil {
		return readError(failed, 0)
	}
	return err
}

var lines = protojson.MarshalOptions{EmitUnpopulated: true}

// answer writes one line for each message. Until the first one an error is an
// ordinary HTTP error; after it, the last line.
func answer(ctx context.Context, stream recordsv1.RecordsService_ImportBundleClient, w http.ResponseWriter, r *http.Request) {
	started := false
	for {
		message, err := stream.Recv()
		if err == nil && !started {
			started = true
			w.Header().Set("Content-Type", typeStream)
			w.WriteHeader(http.StatusOK)
		}
		var line []byte
		switch {
		case err == nil:
			line, err = escaped(lines, message)
		case errors.Is(err, io.EOF) && started:
			return
		case errors.Is(err, io.EOF):
			err = errs.New(errs.KindInternal, "INTERNAL", "internal error")
		}
		if err != nil {
			err = because(ctx, err)
			if !started {
				Fail(w, r, err)
				return
			}
			line, err = codec{}.Marshal(map[string]any{"error": onStreamError(ctx, err).Proto()})
		}
		if _, failed := w.Write(append(line, '\n')); failed != nil || err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// because prefers why the upload stopped over the cancellation that followed.
func because(ctx context.Context, err error) error {
	var cause *errs.Error
	if errs.KindOf(err) == errs.KindCanceled && errors.As(context.Cause(ctx), &cause) {
		return cause
	}
	return err
}
