package rest

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/carekeep/carekeep/libs/errs"
)

// Refusal is an answer that is no success.
type Refusal struct {
	// Status is HTTP's, 0 for an error inside a stream.
	Status int
	// Reason is the stable name of the error, Message the text for people.
	Reason, Message string
	// Fields say what is wrong with which field of the request.
	Fields []string
	Retry  time.Duration
}

// Error says what was refused and, where this program knows it, what to do.
func (r *Refusal) Error() string {
	var text strings.Builder
	text.WriteString(r.Message)
	for _, f := range r.Fields {
		text.WriteString("; " + f)
	}
	if r.Reason != "" {
		text.WriteString(" (" + r.Reason + ")")
	}
	switch {
	case strings.HasPrefix(r.Reason, "SESSION_"):
		text.WriteString(": run carekeep sign-in")
	case r.Reason == "ASSURANCE_TOO_LOW":
		text.WriteString(": run carekeep sign-in and give a one-time code")
	case r.Retry > 0:
		fmt.Fprintf(&text, ": try again in %s", r.Retry.Round(time.Second))
	}
	return text.String()
}

func refusalOf(code int, body []byte) *Refusal {
	var parsed spb.Status
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &parsed); err != nil || parsed.GetCode() == 0 {
		return &Refusal{Status: code, Message: fmt.Sprintf("the answer is %d %s and not carekeep's: is this a carekeep gateway?", code, http.StatusText(code))}
	}
	st := status.FromProto(&parsed)
	r := &Refusal{Status: code, Message: st.Message(), Reason: errs.ReasonOf(st.Err()), Retry: errs.RetryOf(st.Err())}
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, f := range bad.GetFieldViolations() {
				r.Fields = append(r.Fields, f.GetField()+": "+f.GetDescription())
			}
		}
	}
	return r
}
