package server

import (
	"context"
	"errors"
	"fmt"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// validator is protovalidate with the rules of every request compiled at start.
type validator = protovalidate.Validator

func newValidator(requests []protoreflect.MessageDescriptor) (validator, error) {
	v, err := protovalidate.New(protovalidate.WithMessageDescriptors(requests...), protovalidate.WithDisableLazy())
	if err != nil {
		return nil, fmt.Errorf("compile validation rules: %w", err)
	}
	return v, nil
}

// validate checks a request message against its field rules.
func (s *Server) validate(_ context.Context, _ *call, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	err := s.validator.Validate(m)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return errs.Wrap(err, errs.KindInternal, "VALIDATION_BROKEN", "internal error")
	}
	out := errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request does not have the required form")
	for _, v := range invalid.Violations {
		out = out.WithField(fieldPath(v.Proto.GetField()), v.Proto.GetMessage())
	}
	return out
}

// fieldPath spells the path of a field. Map keys are left out: they are data of
// the request, and error text must not repeat any.
func fieldPath(path *validate.FieldPath) string {
	clean := proto.Clone(path).(*validate.FieldPath)
	for _, e := range clean.GetElements() {
		if _, ok := e.GetSubscript().(*validate.FieldPathElement_Index); !ok {
			e.Subscript = nil
		}
	}
	return protovalidate.FieldPathString(clean)
}

// redact clears the fields of a response that the caller may not see.
func redact(_ context.Context, c *call, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	access.Redact(m, c.caller.View())
	return nil
}
