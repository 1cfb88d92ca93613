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
	if r.ProtoMajor == 1 {
		// In full duplex net/http leaves an unread or malformed rest of the body on
		// the connection, where it must not be taken for the next request.
		w.Header().Set("Connection", "close")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := i.records.ImportBundle(ctx)
	if err != nil {
		Fail(w, r, err)
		return
	}
	query := r.URL.Query()
	up := &upload{stream: stream, reading: &reading{body: r.Body, control: control, stall: i.stall}, done: make(chan struct{})}
	go func() {
		defer close(up.done)
		up.err = up.run(&recordsv1.ImportOptions{Doctor: query.Get("doctor"), Patient: query.Get("patient")})
		if up.err != nil {
			// Ending the stream in order would tell records that the bundle is complete.
			cancel()
		}
	}()
	i.answer(w, r, up)
	cancel()
	select {
	case <-up.done:
	default:
		up.end() // the body must not be read after the handler returns
		<-up.done
	}
}

// upload sends the body in pieces.
type upload struct {
	*reading
	stream recordsv1.RecordsService_ImportBundleClient
	// done is closed at the end; then err says what went wrong with the body.
	done chan struct{}
	err  error
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

var lines = protojson.MarshalOptions{EmitUnpopulated: true}

// answer writes one line for each message. Until the first one an error is an
// ordinary HTTP error; after it, the last line.
func (i *importer) answer(w http.ResponseWriter, r *http.Request, up *upload) {
	for started := false; ; started = true {
		message, err := up.stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && started:
			return
		case err != nil && started:
			breakOff(r.Context(), w, up.because(err))
			return
		case errors.Is(err, io.EOF):
			Fail(w, r, errs.New(errs.KindInternal, "INTERNAL", "internal error"))
			return
		case err != nil:
			Fail(w, r, up.because(err))
			return
		}
		if !started {
			w.Header().Set("Content-Type", typeStream)
			w.WriteHeader(http.StatusOK)
		}
		line, err := escaped(lines, message)
		if err != nil {
			breakOff(r.Context(), w, err)
			return
		}
		if writeLine(w, line) != nil {
			return // the client is gone
		}
	}
}

// breakOff writes the last line of an import that failed after its first one.
func breakOff(ctx context.Context, w http.ResponseWriter, err error) {
	line, failed := codec{}.Marshal(map[string]any{"error": onStreamError(ctx, err).Proto()})
	if failed != nil {
		line = []byte(`{"error":{"code":13,"message":"internal error"}}`)
	}
	// A client that is gone needs no last line.
	_ = writeLine(w, line)
}

func writeLine(w http.ResponseWriter, line []byte) error {
	if _, err := w.Write(append(line, '\n')); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// because prefers what went wrong with the body over the cancellation that
// followed. The stream is canceled only when the body or the client is gone, so
// the upload is at its end as well.
func (u *upload) because(err error) error {
	if errs.KindOf(err) != errs.KindCanceled || u.stream.Context().Err() == nil {
		return err
	}
	<-u.done
	if u.err != nil {
		return u.err
	}
	return err
}
