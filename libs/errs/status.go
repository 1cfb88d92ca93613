package errs

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain stands in every ErrorInfo, so that clients know whose reasons they read.
const Domain = "carekeep"

var kindCodes = map[Kind]codes.Code{
	KindInternal:        codes.Internal,
	KindInvalid:         codes.InvalidArgument,
	KindUnauthenticated: codes.Unauthenticated,
	KindDenied:          codes.PermissionDenied,
	KindNotFound:        codes.NotFound,
	KindExists:          codes.AlreadyExists,
	KindConflict:        codes.Aborted,
	KindPrecondition:    codes.FailedPrecondition,
	KindLimited:         codes.ResourceExhausted,
	KindTooLarge:        codes.InvalidArgument,
	KindUnavailable:     codes.Unavailable,
	KindDataLoss:        codes.DataLoss,
	KindDeadline:        codes.DeadlineExceeded,
	KindCanceled:        codes.Canceled,
	KindUnimplemented:   codes.Unimplemented,
}

var codeKinds = map[codes.Code]Kind{
	codes.InvalidArgument:    KindInvalid,
	codes.OutOfRange:         KindInvalid,
	codes.Unauthenticated:    KindUnauthenticated,
	codes.PermissionDenied:   KindDenied,
	codes.NotFound:           KindNotFound,
	codes.AlreadyExists:      KindExists,
	codes.Aborted:            KindConflict,
	codes.FailedPrecondition: KindPrecondition,
	codes.ResourceExhausted:  KindLimited,
	codes.Unavailable:        KindUnavailable,
	codes.DataLoss:           KindDataLoss,
	codes.DeadlineExceeded:   KindDeadline,
	codes.Canceled:           KindCanceled,
	codes.Unimplemented:      KindUnimplemented,
}

// Code returns the gRPC code of a kind.
func (k Kind) Code() codes.Code {
	if c, ok := kindCodes[k]; ok {
		return c
	}
	return codes.Internal
}

// KindOf returns the kind of an error: its own, that of a gRPC status from
// another service, or that of a context error. Anything else is internal.
func KindOf(err error) Kind {
	if e := find(err); e != nil {
		return e.kind
	}
	return KindInternal
}

// ReasonOf returns the stable reason of an error, or "" where it carries none.
func ReasonOf(err error) string {
	if e := find(err); e != nil {
		return e.reason
	}
	return ""
}

// RetryOf returns how long the error asks to wait, 0 where it does not say.
func RetryOf(err error) time.Duration {
	if e := find(err); e != nil {
		return e.retry
	}
	return 0
}

// Status translates an error for the wire. It is called once, by libs/server.
// A nil error gives an OK status; an unclassified one says only "internal error".
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	e := find(err)
	if e == nil {
		e = New(KindInternal, "INTERNAL", "internal error")
	}
	st := status.New(e.kind.Code(), e.public)
	details := make([]protoadapt.MessageV1, 0, 3)
	if e.reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: e.reason, Domain: Domain})
	}
	if len(e.violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: v.Field, Description: v.Description,
			})
		}
		details = append(details, bad)
	}
	if e.retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.retry)})
	}
	// WithDetails fails only for an OK code or a message that does not marshal; neither occurs here.
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

// find returns the classified error inside err, or nil.
func find(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if s, ok := asStatus(err); ok {
		return fromStatus(s)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(KindDeadline, "DEADLINE_EXCEEDED", "the deadline of the request passed")
	case errors.Is(err, context.Canceled):
		return New(KindCanceled, "CANCELED", "the request was canceled")
	}
	return nil
}

// asStatus finds a status without status.FromError's habit of putting the text
// of wrapping errors, which may be private, into the message.
func asStatus(err error) (*status.Status, bool) {
	var g interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &g) {
		return nil, false
	}
	s := g.GRPCStatus()
	return s, s != nil && s.Code() != codes.OK
}

// fromStatus reads what another service said. Text of a status that carekeep did
// not make (no ErrorInfo of our domain) may hold anything, so it is replaced.
func fromStatus(s *status.Status) *Error {
	kind, known := codeKinds[s.Code()]
	if !known {
		return New(KindInternal, "INTERNAL", "internal error")
	}
	e := New(kind, "", defaultText(kind))
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				e.reason, e.public = d.GetReason(), s.Message()
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.violations = append(e.violations, Violation{Field: v.GetField(), Description: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.retry = d.GetRetryDelay().AsDuration()
		}
	}
	if e.reason == "" {
		e.reason, e.violations = defaultReason(kind), nil
	}
	return e
}

func defaultReason(k Kind) string {
	switch k {
	case KindUnavailable:
		return "DEPENDENCY_UNAVAILABLE"
	case KindDeadline:
		return "DEADLINE_EXCEEDED"
	case KindCanceled:
		return "CANCELED"
	case KindUnimplemented:
		return "UNIMPLEMENTED"
	default:
		return "UPSTREAM_ERROR"
	}
}

func defaultText(k Kind) string {
	switch k {
	case KindUnavailable:
		return "a service that this request needs is not available"
	case KindDeadline:
		return "the deadline of the request passed"
	case KindCanceled:
		return "the request was canceled"
	case KindUnimplemented:
		return "there is no such method"
	default:
		return "the request failed"
	}
}
