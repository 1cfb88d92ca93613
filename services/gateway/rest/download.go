package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// The routes that stream a file. They take over from grpc-gateway, which puts a line
// break after every message of a stream, also in the middle of a zip.
const (
	exportPath    = "/v1/{name=patients/*/rightsRequests/*}:exportChart"
	ownExportPath = "/v1/patientAccess:export"
)

// downloads streams exports of charts.
type downloads struct {
	rights recordsv1.RightsServiceClient
	stall  time.Duration
}

type fileStream = grpc.ServerStreamingClient[httpbody.HttpBody]

func (d *downloads) export(w http.ResponseWriter, r *http.Request, params map[string]string) {
	var request recordsv1.ExportChartRequest
	d.serve(w, r, &request, func(ctx context.Context) (fileStream, error) {
		request.Name = params["name"]
		return d.rights.ExportChart(ctx, &request)
	})
}

func (d *downloads) exportByToken(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	var request recordsv1.ExportByTokenRequest
	d.serve(w, r, &request, func(ctx context.Context) (fileStream, error) {
		request.Client = clientOf(ctx)
		return d.rights.ExportByToken(ctx, &request)
	})
}

func (d *downloads) serve(w http.ResponseWriter, r *http.Request, request any, open func(context.Context) (fileStream, error)) {
	if err := (codec{}).NewDecoder(r.Body).Decode(request); err != nil && !errors.Is(err, io.EOF) {
		Fail(w, r, status.Error(codes.InvalidArgument, err.Error()))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := open(ctx)
	if err != nil {
		Fail(w, r, err)
		return
	}
	d.copy(w, r, stream)
}

// copy sends the file on. An error before its first piece is an ordinary HTTP error.
func (d *downloads) copy(w http.ResponseWriter, r *http.Request, stream fileStream) {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		err = errs.New(errs.KindInternal, "INTERNAL", "internal error")
	}
	if err != nil {
		Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", first.GetContentType())
	w.Header().Set("Content-Disposition", `attachment; filename="health-record.zip"`)
	pour(w, d.stall, func() ([]byte, error) {
		if piece := first; piece != nil {
			first = nil
			return piece.GetData(), nil
		}
		piece, err := stream.Recv()
		return piece.GetData(), err
	})
}

// pour sends pieces on until their end. An error breaks the connection, so that nobody takes the part for
// the whole; so does a client that takes nothing for the time of stall.
func pour(w http.ResponseWriter, stall time.Duration, next func() ([]byte, error)) {
	control := http.NewResponseController(w)
	for {
		piece, err := next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || control.SetWriteDeadline(time.Now().Add(stall)) != nil {
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(piece); err != nil || control.Flush() != nil {
			panic(http.ErrAbortHandler) // the client is gone
		}
	}
}
