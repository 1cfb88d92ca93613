package rest

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/services/gateway/edge"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
)

// Reasons that have an HTTP status of their own.
const (
	reasonBody        = "BODY_MALFORMED"
	reasonBodySize    = "BODY_TOO_LARGE"
	reasonBodyType    = "BODY_TYPE_UNSUPPORTED"
	reasonMessageSize = "MESSAGE_TOO_LARGE"
	reasonMethod      = "METHOD_NOT_ALLOWED"
	reasonRoute       = "ROUTE_UNKNOWN"
	reasonParameter   = "PARAMETER_MALFORMED"
	reasonStalled     = "BODY_STALLED"
)

var statusOfReason = map[string]int{
	reasonBodySize:    http.StatusRequestEntityTooLarge,
	reasonMessageSize: http.StatusRequestEntityTooLarge,
	reasonBodyType:    http.StatusUnsupportedMediaType,
	reasonMethod:      http.StatusMethodNotAllowed,
	reasonStalled:     http.StatusRequestTimeout,
}

// Fail answers with an error as google.rpc.Status JSON, below /fhir/R4 as an OperationOutcome, at any point before the
// first byte of an answer.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	if isFHIR(r.URL.Path) {
		outcome.Write(w, note(r.Context(), classify(err)).Err())
		return
	}
	st := note(r.Context(), classify(err))
	body, failed := codec{}.Marshal(st.Proto())
	if failed != nil {
		body = []byte(`{"code":13,"message":"internal error"}`)
	}
	h := w.Header()
	// What a handler prepared for success does not describe an error.
	for _, name := range []string{"Trailer", "Transfer-Encoding", "Content-Length", "Content-Encoding"} {
		h.Del(name)
	}
	h.Set("Content-Type", typeJSON)
	if after := errs.RetryOf(st.Err()); after > 0 {
		h.Set("Retry-After", wholeSeconds(after))
	}
	if st.Code() == codes.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="carekeep"`)
	}
	w.WriteHeader(httpStatus(st.Code(), errs.ReasonOf(st.Err())))
	// A client that is gone needs no answer.
	_, _ = w.Write(body) //nolint:gosec // not HTML: the type is JSON with nosniff, and <, > and & are escaped
}

// note leaves in the exchange what the log should say, and returns what the client may know.
func note(ctx context.Context, err error) *status.Status {
	st, exchange := errs.Status(err), edge.Of(ctx)
	exchange.Reason = errs.ReasonOf(st.Err())
	switch st.Code() {
	case codes.Internal, codes.Unavailable, codes.DataLoss, codes.Unimplemented:
		exchange.Cause = err
	}
	return st
}

func httpStatus(code codes.Code, reason string) int {
	if s, ok := statusOfReason[reason]; ok {
		return s
	}
	return runtime.HTTPStatusFromCode(code)
}

// wholeSeconds rounds up: a client that comes back early is refused again.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// classify gives a reason to the errors that grpc-gateway and grpc themselves
// make. Their text repeats values of the request, so it is replaced.
func classify(err error) error {
	st, ok := status.FromError(err)
	if !ok || ours(st) {
		return err
	}
	switch st.Code() {
	case codes.InvalidArgument:
		if strings.HasPrefix(st.Message(), bodyMark) {
			return errs.New(errs.KindInvalid, reasonBody, st.Message())
		}
		return errs.New(errs.KindInvalid, reasonParameter,
			"a parameter of the path or the query has the wrong type or format; they are listed at /openapi.json")
	case codes.ResourceExhausted:
		return errs.New(errs.KindTooLarge, reasonMessageSize,
			"the request or its answer is larger than one message may be; ask for fewer items a page")
	}
	return err
}

// ours says whether carekeep made the status.
func ours(st *status.Status) bool {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errs.Domain {
			return true
		}
	}
	return false
}

func onError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	Fail(w, r, err)
}

// onStreamError makes the last line of a stream that breaks off.
func onStreamError(ctx context.Context, err error) *status.Status {
	return note(ctx, classify(err))
}
