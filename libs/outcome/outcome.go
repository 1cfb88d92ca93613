// Package outcome writes errors as FHIR R4 has them: an HTTP status and an
// OperationOutcome. The gateway and records answer with it below /fhir/R4. It holds
// the text of errs.Error that clients may see, and nothing of a request.
package outcome

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/carekeep/carekeep/libs/errs"
)

// MediaType is FHIR's JSON (R4 2.6.2).
const MediaType = "application/fhir+json"

// system names the stable reasons of carekeep, beside FHIR's few issue codes.
const system = "urn:carekeep:reason"

// known is the HTTP status and the issue code (R4 valueset-issue-type) of a kind.
var known = map[errs.Kind]struct {
	status int
	code   string
}{
	errs.KindInternal:        {http.StatusInternalServerError, "exception"},
	errs.KindInvalid:         {http.StatusBadRequest, "invalid"},
	errs.KindUnauthenticated: {http.StatusUnauthorized, "login"},
	errs.KindDenied:          {http.StatusForbidden, "forbidden"},
	errs.KindNotFound:        {http.StatusNotFound, "not-found"},
	errs.KindExists:          {http.StatusConflict, "duplicate"},
	errs.KindConflict:        {http.StatusConflict, "conflict"},
	errs.KindPrecondition:    {http.StatusUnprocessableEntity, "business-rule"},
	errs.KindLimited:         {http.StatusTooManyRequests, "throttled"},
	errs.KindTooLarge:        {http.StatusRequestEntityTooLarge, "too-long"},
	errs.KindUnavailable:     {http.StatusServiceUnavailable, "transient"},
	errs.KindDataLoss:        {http.StatusInternalServerError, "exception"},
	errs.KindDeadline:        {http.StatusGatewayTimeout, "timeout"},
	errs.KindCanceled:        {499, "timeout"},
	errs.KindUnimplemented:   {http.StatusNotImplemented, "not-supported"},
}

// Reasons that HTTP or FHIR have a status of their own for.
const (
	ReasonGone         = "RESOURCE_DELETED"
	ReasonStale        = "ETAG_STALE"
	ReasonMatch        = "IF_MATCH_REQUIRED"
	ReasonMany         = "CONDITION_AMBIGUOUS"
	ReasonNotPut       = "UPDATE_CREATES_NOTHING"
	ReasonType         = "BODY_TYPE_UNSUPPORTED"
	ReasonAccept       = "NOT_ACCEPTABLE"
	ReasonMethod       = "METHOD_NOT_ALLOWED"
	ReasonBodyTooLarge = "BODY_TOO_LARGE"
	ReasonAnswer       = "ANSWER_TOO_LARGE"
	ReasonStalled      = "BODY_STALLED"
	ReasonUnprocessed  = "RESOURCE_INVALID"
)

var ofReason = map[string]struct {
	status int
	code   string
}{
	ReasonGone:         {http.StatusGone, "deleted"},
	ReasonStale:        {http.StatusPreconditionFailed, "conflict"},
	ReasonMatch:        {http.StatusPreconditionRequired, "required"},
	ReasonMany:         {http.StatusPreconditionFailed, "multiple-matches"},
	ReasonNotPut:       {http.StatusMethodNotAllowed, "not-found"},
	ReasonType:         {http.StatusUnsupportedMediaType, "not-supported"},
	ReasonAccept:       {http.StatusNotAcceptable, "not-supported"},
	ReasonMethod:       {http.StatusMethodNotAllowed, "not-supported"},
	ReasonBodyTooLarge: {http.StatusRequestEntityTooLarge, "too-long"},
	ReasonAnswer:       {http.StatusRequestEntityTooLarge, "too-long"},
	ReasonStalled:      {http.StatusRequestTimeout, "timeout"},
	ReasonUnprocessed:  {http.StatusUnprocessableEntity, "invariant"},
}

// Status is the HTTP status of an error.
func Status(err error) int {
	status, _ := statusOf(err)
	return status
}

func statusOf(err error) (int, string) {
	if own, ok := ofReason[errs.ReasonOf(err)]; ok {
		return own.status, own.code
	}
	k := known[errs.KindOf(err)]
	return k.status, k.code
}

type coding struct {
	System string `json:"system"`
	Code   string `json:"code"`
}

type details struct {
	Coding []coding `json:"coding"`
	Text   string   `json:"text"`
}

type issue struct {
	Severity    string   `json:"severity"`
	Code        string   `json:"code"`
	Details     *details `json:"details,omitempty"`
	Diagnostics string   `json:"diagnostics,omitempty"`
	Expression  []string `json:"expression,omitempty"`
}

type operationOutcome struct {
	Type  string  `json:"resourceType"`
	Issue []issue `json:"issue"`
}

// Of is the OperationOutcome of an error: one issue, or one for each field that is wrong.
func Of(err error) []byte {
	st := errs.Status(err)
	status, code := statusOf(err)
	severity := "error"
	if status >= http.StatusInternalServerError && status != http.StatusNotImplemented {
		severity = "fatal"
	}
	reason := errs.ReasonOf(st.Err())
	if reason == "" {
		reason = "INTERNAL"
	}
	about := &details{[]coding{{system, reason}}, st.Message()}
	out := operationOutcome{Type: "OperationOutcome"}
	for _, d := range st.Details() {
		bad, ok := d.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			out.Issue = append(out.Issue, issue{severity, code, about, v.GetDescription(), []string{v.GetField()}})
		}
	}
	if len(out.Issue) == 0 {
		out.Issue = []issue{{Severity: severity, Code: code, Details: about}}
	}
	return encode(out)
}

// Note is an OperationOutcome that tells of something without an error.
func Note(severity, code, text string) []byte {
	return encode(operationOutcome{"OperationOutcome", []issue{{Severity: severity, Code: code, Diagnostics: text}}})
}

// encode cannot fail: these are strings. It escapes <, > and &, so that the answer is
// harmless wherever a careless page puts it.
func encode(o operationOutcome) []byte {
	raw, err := json.Marshal(o)
	if err != nil {
		return []byte(`{"resourceType":"OperationOutcome","issue":[{"severity":"fatal","code":"exception"}]}`)
	}
	return raw
}

// Write answers with an error, before the first byte of an answer.
func Write(w http.ResponseWriter, err error) {
	h := w.Header()
	for _, name := range []string{"ETag", "Last-Modified", "Location", "Content-Location", "Content-Length", "Content-Encoding"} {
		h.Del(name)
	}
	h.Set("Content-Type", MediaType+"; charset=utf-8")
	if after := errs.RetryOf(err); after > 0 {
		h.Set("Retry-After", Seconds(after))
	}
	status := Status(err)
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="carekeep"`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(Of(err)) // a client that is gone needs no answer
}

// Seconds writes a Retry-After. It rounds up: a client that comes back early is refused again.
func Seconds(d time.Duration) string { return strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))) }
