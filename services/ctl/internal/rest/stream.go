package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

// lines reads a streamed answer: one JSON object a line, {"result": …} or the message
// itself, and {"error": …} where it broke off.
func lines(path string, body io.ReadCloser, each func(json.RawMessage) error) error {
	defer func() { _ = body.Close() }()
	scan := bufio.NewScanner(body)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	for scan.Scan() {
		line := bytes.TrimSpace(scan.Bytes())
		if len(line) == 0 {
			continue
		}
		var envelope struct {
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(line, &envelope); err != nil {
			return fmt.Errorf("%s: the answer was cut off", path)
		}
		switch {
		case envelope.Error != nil:
			return refusal(0, envelope.Error)
		case envelope.Result != nil && bytes.HasPrefix(line, []byte(`{"result"`)) && !isMessage(envelope.Result, line):
			line = envelope.Result
		}
		if err := each(line); err != nil {
			return err
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("%s: the answer was cut off: %w", path, err)
	}
	return nil
}

// Refusal is an answer that is no success, or the end of a stream that failed.
type Refusal struct {
	HTTP    int // 0 within a stream
	Code    codes.Code
	Reason  string // stable
	Message string
	Fields  []string // what is wrong with the request
	Retry   time.Duration
}

// Error says it in one line.
func (r *Refusal) Error() string {
	text := r.Message
	if len(r.Fields) > 0 {
		text += ": " + strings.Join(r.Fields, "; ")
	}
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	if r.Retry > 0 {
		text += fmt.Sprintf("; try again in %s", r.Retry)
	}
	switch {
	case r.Reason == "" && r.Code == codes.Unauthenticated:
		text += "; sign in again with `carekeep sign-in`"
	case text == "":
		text = fmt.Sprintf("the gateway answers with HTTP status %d", r.HTTP)
	}
	return text
}

// refusal reads a google.rpc.Status.
func refusal(http int, raw []byte) error {
	var s spb.Status
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, &s); err != nil {
		if http == 0 {
			return errors.New("the answer broke off")
		}
		return &Refusal{HTTP: http, Code: codes.Unknown}
	}
	r := &Refusal{HTTP: http, Code: codes.Code(s.GetCode()), Message: s.GetMessage()}
	for _, detail := range s.GetDetails() {
		m, err := detail.UnmarshalNew()
		if err != nil {
			continue // a newer gateway may say more
		}
		switch d := m.(type) {
		case *errdetails.ErrorInfo:
			r.Reason = d.GetReason()
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				r.Fields = append(r.Fields, f.GetField()+": "+f.GetDescription())
			}
		case *errdetails.RetryInfo:
			r.Retry = d.GetRetryDelay().AsDuration()
		}
	}
	return r
}
