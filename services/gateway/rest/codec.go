package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	typeJSON   = "application/json"
	typeFHIR   = "application/fhir+json"
	typeStream = "application/x-ndjson"

	// maxDepth bounds nesting: no message of the API comes near it.
	maxDepth = 64
)

// codec is JSON as the API speaks it: strict in what it takes, and errors never
// repeat what the client sent, because that may be patient data.
type codec struct{}

var (
	incoming = protojson.UnmarshalOptions{RecursionLimit: maxDepth}
	outgoing = protojson.MarshalOptions{}
)

// ContentType names what Marshal makes.
func (codec) ContentType(v any) string {
	if body, ok := v.(*httpbody.HttpBody); ok {
		return body.GetContentType()
	}
	return typeJSON
}

// StreamContentType names what a stream of Marshal's results is.
func (codec) StreamContentType(any) string { return typeStream }

// Delimiter ends each line of a stream.
func (codec) Delimiter() []byte { return []byte("\n") }

// Marshal writes a message, or for streams a map of them.
func (c codec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case *httpbody.HttpBody:
		return v.GetData(), nil
	case proto.Message:
		return escaped(outgoing, v)
	case map[string]any:
		return c.object(v)
	case map[string]proto.Message:
		members := make(map[string]any, len(v))
		for name, m := range v {
			members[name] = m
		}
		return c.object(members)
	}
	return nil, fmt.Errorf("marshal %T: not a message", v)
}

func (c codec) object(members map[string]any) ([]byte, error) {
	raw := make(map[string]json.RawMessage, len(members))
	for name, v := range members {
		member, err := c.Marshal(v)
		if err != nil {
			return nil, err
		}
		raw[name] = member
	}
	return json.Marshal(raw)
}

// escaped writes JSON in which <, > and & are escaped, so that it is harmless
// wherever a careless page puts it (claim DMD-09).
func escaped(o protojson.MarshalOptions, m proto.Message) ([]byte, error) {
	raw, err := o.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var out bytes.Buffer
	json.HTMLEscape(&out, raw)
	return out.Bytes(), nil
}

// Unmarshal reads a message.
func (codec) Unmarshal(data []byte, v any) error {
	m, set, err := target(v)
	if err != nil {
		return err
	}
	if err := incoming.Unmarshal(data, m); err != nil {
		return bodyError(explain(err))
	}
	set()
	return nil
}

// target finds the message to fill. grpc-gateway passes a pointer to the
// message, or a pointer to a field that holds a pointer to one.
func target(v any) (proto.Message, func(), error) {
	if m, ok := v.(proto.Message); ok {
		return m, func() {}, nil
	}
	field := reflect.ValueOf(v)
	if field.Kind() == reflect.Pointer && field.Elem().Kind() == reflect.Pointer {
		fresh := reflect.New(field.Elem().Type().Elem())
		if m, ok := fresh.Interface().(proto.Message); ok {
			return m, func() { field.Elem().Set(fresh) }, nil
		}
	}
	return nil, nil, fmt.Errorf("unmarshal into %T: not a message", v)
}

// NewDecoder reads one message that takes all of r.
func (c codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return io.EOF
		}
		return c.Unmarshal(data, v)
	})
}

// NewEncoder writes messages to w.
func (c codec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		data, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// bodyError is what is wrong with a body. grpc-gateway passes on only its text,
// so the text carries a mark by which the error handler knows it again.
type bodyError string

const bodyMark = "request body: "

func (e bodyError) Error() string { return bodyMark + string(e) }

var (
	place      = regexp.MustCompile(`^(?:proto:)?[\s\x{a0}]*(syntax error )?\(line (\d+):(\d+)\):[\s\x{a0}]*(?s:(.*))$`)
	typedField = regexp.MustCompile(`^invalid value for \w+ field (\w+):`)
)

// explain puts a protojson error into words of our own. Only positions, and
// names that come from the descriptor, are taken from the original.
func explain(err error) string {
	m := place.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		// The end of the text, or a piece that is no text: protojson gives no place.
		return "it is cut short or holds an invalid character"
	case m[1] != "":
		return fmt.Sprintf("line %s, column %s: not valid JSON here", m[2], m[3])
	}
	return fmt.Sprintf("line %s, column %s: %s", m[2], m[3], problem(m[4]))
}

func problem(text string) string {
	if m := typedField.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the value of field %s has the wrong type or format", m[1])
	}
	switch {
	case strings.HasPrefix(text, "unknown field"):
		return "unknown field; the fields of each request are listed at /openapi.json"
	case strings.HasPrefix(text, "duplicate field"):
		return "a field stands twice"
	case strings.HasPrefix(text, "error parsing"):
		return "fields of which only one may be set are set together"
	}
	return "a value has the wrong type or format"
}

// checkText says where text stops being UTF-8, "" where it never does.
func checkText(data []byte) string {
	if utf8.Valid(data) {
		return ""
	}
	at := 0
	for at < len(data) {
		c, size := utf8.DecodeRune(data[at:])
		if c == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return fmt.Sprintf("byte %d: not valid UTF-8", at)
}
