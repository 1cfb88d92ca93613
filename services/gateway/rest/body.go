package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// drainFactor times the limit is how much of a body that is too long is read and
// thrown away over HTTP/1, so that a client that sends before it listens still
// gets its 413 and not a broken connection.
const drainFactor = 16

// readBody reads the whole body within its limits of size and time and puts it
// back, so that a body that is too long, too slow or no text never starts a call.
func readBody(w http.ResponseWriter, r *http.Request, limits edge.Limits) error {
	data, err := readInTime(w, r, limits, limits.JSONBytes)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if err := checkType(r, typeJSON); err != nil {
			return err
		}
	}
	if problem := checkText(data); problem != "" {
		return errs.New(errs.KindInvalid, reasonBody, bodyError(problem).Error())
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return nil
}

// readInTime reads the whole body within its limits of time and size.
func readInTime(w http.ResponseWriter, r *http.Request, limits edge.Limits, most int64) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(limits.Body())); err != nil {
		return nil, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	data, err := readWithin(r, most)
	if err != nil {
		return nil, err
	}
	// The call may take longer. net/http lifts the deadline at the end of a body too, but promises nothing.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return nil, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	return data, nil
}

func readWithin(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(r, limit)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, readError(err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(r, limit)
	}
	return data, nil
}

func tooLarge(r *http.Request, limit int64) error {
	// A client that waits for 100 Continue has sent nothing yet, and HTTP/2 can refuse a stream by itself.
	if r.ProtoMajor == 1 && r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, drainFactor*limit)
	}
	return errs.New(errs.KindTooLarge, reasonBodySize,
		"the request body is longer than the limit of this installation; send less, or import FHIR bundles with POST "+importPath)
}

// readError says why a body could not be read.
func readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errs.Wrap(err, errs.KindDeadline, reasonStalled, "the request body came too slowly")
	}
	return errs.Wrap(err, errs.KindInvalid, "BODY_BROKEN_OFF", "the request body ended before it was complete")
}

// checkType refuses bodies of another media type, forms above all: grpc-gateway
// would read a form's fields as query parameters.
func checkType(r *http.Request, accepted ...string) error {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, has := parameters["charset"]
	if err != nil || !slices.Contains(accepted, kind) || has && !strings.EqualFold(charset, "utf-8") {
		return errs.New(errs.KindInvalid, reasonBodyType,
			"set Content-Type to "+strings.Join(accepted, " or ")+", in UTF-8")
	}
	return nil
}
