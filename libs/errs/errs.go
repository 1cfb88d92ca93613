// Package errs is the one error type of carekeep: a kind, a stable reason, text
// for clients and a hidden cause. It is translated to a gRPC status once, at the
// edge of a service. It is not for control flow inside a package; use sentinels there.
package errs

import (
	"slices"
	"strings"
	"time"
)

// Kind is the class of an error, and decides the gRPC code that clients see.
type Kind int

// The zero Kind is internal on purpose: an error nobody classified is opaque to clients.
const (
	KindInternal        Kind = iota // INTERNAL
	KindInvalid                     // INVALID_ARGUMENT
	KindUnauthenticated             // UNAUTHENTICATED
	KindDenied                      // PERMISSION_DENIED
	KindNotFound                    // NOT_FOUND
	KindExists                      // ALREADY_EXISTS
	KindConflict                    // ABORTED
	KindPrecondition                // FAILED_PRECONDITION
	KindLimited                     // RESOURCE_EXHAUSTED
	KindTooLarge                    // INVALID_ARGUMENT; the reason tells it from KindInvalid
	KindUnavailable                 // UNAVAILABLE
	KindDataLoss                    // DATA_LOSS
	KindDeadline                    // DEADLINE_EXCEEDED
	KindCanceled                    // CANCELLED
	KindUnimplemented               // UNIMPLEMENTED
)

// Violation says what is wrong with one field of a request. Its text reaches the
// client and must not repeat the value.
type Violation struct {
	Field       string
	Description string
}

// Error is an error that a client may see in part: kind, reason, public text,
// violations and retry time travel, the cause stays here for the log.
type Error struct {
	kind       Kind
	reason     string
	public     string
	cause      error
	violations []Violation
	retry      time.Duration
}

// New makes an error without a cause. The reason is a stable UPPER_SNAKE name
// that clients match; the public text never holds patient data or secrets.
func New(k Kind, reason, public string) *Error {
	return &Error{kind: k, reason: reason, public: public}
}

// Wrap is New with a cause, which is logged and matched by errors.Is but never sent to clients.
func Wrap(cause error, k Kind, reason, public string) *Error {
	return &Error{kind: k, reason: reason, public: public, cause: cause}
}

// WithField returns a copy that also names a field of the request and what is wrong with it.
func (e *Error) WithField(field, description string) *Error {
	c := *e
	c.violations = append(slices.Clone(e.violations), Violation{Field: field, Description: description})
	return &c
}

// WithRetry returns a copy that tells the client to wait before trying again.
func (e *Error) WithRetry(after time.Duration) *Error {
	c := *e
	c.retry = after
	return &c
}

// Kind returns the kind.
func (e *Error) Kind() Kind { return e.kind }

// Reason returns the stable reason.
func (e *Error) Reason() string { return e.reason }

// Public returns the text for clients.
func (e *Error) Public() string { return e.public }

// Violations returns the field violations; the caller must not change them.
func (e *Error) Violations() []Violation { return e.violations }

// Retry returns how long a client should wait; 0 where the error says nothing about it.
func (e *Error) Retry() time.Duration { return e.retry }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Error is the text for logs; clients get Public.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.reason)
	b.WriteString(": ")
	b.WriteString(e.public)
	for _, v := range e.violations {
		b.WriteString(" [" + v.Field + ": " + v.Description + "]")
	}
	if e.cause != nil {
		b.WriteString(": ")
		b.WriteString(e.cause.Error())
	}
	return b.String()
}

// Is matches another Error of the same kind and reason, so that a package can
// keep a sentinel Error and wrap causes into copies of it.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.kind == e.kind && t.reason == e.reason
}
