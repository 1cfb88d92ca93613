// Package api is a client of carekeep's REST API for the seeder, the demo and
// tests. It goes through the gateway as any front end does; it has no way around
// a check, and is no SDK.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/errs"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // error details inside JSON errors
)

// Client speaks to one gateway, as nobody or with a session.
type Client struct {
	base    string
	http    *http.Client
	token   string
	device  string
	purpose string
	match   string // If-Match of the one request
	prefer  string // Prefer
}

// New makes a client without a session.
func New(base string, client *http.Client) *Client { return &Client{base: base, http: client} }

// With gives a client that sends the session token.
func (c *Client) With(token string) *Client {
	signedIn := *c
	signedIn.token = token
	return &signedIn
}

// On gives a client that names its device, by the token that an earlier sign-in gave.
func (c *Client) On(device string) *Client {
	named := *c
	named.device = device
	return &named
}

// For gives a client that states a purpose of use, as every request for patient data has to.
func (c *Client) For(purpose accessv1.Purpose) *Client {
	stated := *c
	stated.purpose = strings.TrimPrefix(purpose.String(), "PURPOSE_")
	if purpose == accessv1.Purpose_PURPOSE_UNSPECIFIED {
		stated.purpose = ""
	}
	return &stated
}

// Answer is what came back, byte for byte.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Refusal is an answer that is no success.
type Refusal struct {
	Method, Path string
	// Status is HTTP's; Code, Reason and Message are the body's google.rpc.Status.
	Status  int
	Code    codes.Code
	Reason  string
	Message string
	Retry   time.Duration
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s %s: %d %s %s: %s", r.Method, r.Path, r.Status, r.Code, r.Reason, r.Message)
}

// maxWait is the longest that Call waits when a rate limit says when to come back.
const maxWait = 90 * time.Second

// Preferring returns a client that asks for FHIR answers in a way, as "respond-async".
func (c *Client) Preferring(prefer string) *Client {
	with := *c
	with.prefer = prefer
	return &with
}

// Call sends body, where it is not nil, and reads the answer into into, where it
// is not nil. Anything but success is a *Refusal. A rate limit is waited out.
func (c *Client) Call(ctx context.Context, method, path string, body, into proto.Message) error {
	for {
		answer, err := c.Send(ctx, method, path, body)
		if err != nil {
			return err
		}
		refusal := answer.refusal(method, path)
		if refusal == nil {
			if into == nil {
				return nil
			}
			if err := protojson.Unmarshal(answer.Body, into); err != nil {
				return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
			}
			return nil
		}
		if !refusal.wait(ctx) {
			return refusal
		}
	}
}

// wait waits out a rate limit, and says false for any other refusal.
func (r *Refusal) wait(ctx context.Context) bool {
	if r.Status != http.StatusTooManyRequests || r.Retry == 0 || r.Retry > maxWait {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(r.Retry):
		return true
	}
}

// Send sends body, where it is not nil, and returns whatever comes back.
func (c *Client) Send(ctx context.Context, method, path string, body proto.Message) (*Answer, error) {
	var content io.Reader
	if body != nil {
		raw, err := protojson.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		content = bytes.NewReader(raw)
	}
	response, err := c.do(ctx, method, path, "application/json", content)
	return read(method, path, response, err)
}

// FHIR sends a FHIR resource, or nothing where it is nil, and returns whatever comes back.
// match is an ETag for If-Match, "" for none.
func (c *Client) FHIR(ctx context.Context, method, path string, resource []byte, match string) (*Answer, error) {
	var content io.Reader
	if resource != nil {
		content = bytes.NewReader(resource)
	}
	with := *c
	with.match = match
	response, err := with.do(ctx, method, "/fhir/R4"+path, "application/fhir+json", content)
	return read(method, path, response, err)
}

func read(method, path string, response *http.Response, err error) (*Answer, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: raw}, nil
}

func (c *Client) do(ctx context.Context, method, path, kind string, content io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if content != nil {
		request.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.device != "" {
		request.Header.Set("X-Device-Token", c.device)
	}
	if c.purpose != "" {
		request.Header.Set("X-Purpose-Of-Use", c.purpose)
	}
	if c.match != "" {
		request.Header.Set("If-Match", c.match)
	}
	if c.prefer != "" {
		request.Header.Set("Prefer", c.prefer)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return response, nil
}

// refusal reads an error answer; nil for a success.
func (a *Answer) refusal(method, path string) *Refusal {
	if a.Status/100 == 2 {
		return nil
	}
	r := refusalOf(a.Body)
	r.Method, r.Path, r.Status = method, path, a.Status
	return r
}

func refusalOf(body []byte) *Refusal {
	var parsed spb.Status
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &parsed); err != nil || parsed.GetCode() == 0 {
		return &Refusal{Code: codes.Unknown, Message: fmt.Sprintf("%.200q", body)}
	}
	err := status.FromProto(&parsed).Err()
	return &Refusal{Code: codes.Code(parsed.GetCode()), Reason: errs.ReasonOf(err), Message: parsed.GetMessage(), Retry: errs.RetryOf(err)}
}

// lines decodes a stream of answers, one JSON object a line: {"result": …} or,
// last, {"error": …}. Streams of the importer have no envelope around the result.
func lines(r io.Reader, each func(line json.RawMessage) error) error {
	decoder := json.NewDecoder(r)
	for {
		var line json.RawMessage
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		var envelope struct{ Result, Error json.RawMessage }
		if err := json.Unmarshal(line, &envelope); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		if envelope.Error != nil {
			return refusalOf(envelope.Error)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}
