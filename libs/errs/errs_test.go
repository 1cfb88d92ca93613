package errs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/carekeep/carekeep/libs/errs"
)

func TestStatusTellsReasonFieldsAndRetryButNeverTheCause(t *testing.T) {
	cause := errors.New("password=hunter2 for jane doe")
	err := fmt.Errorf("sign in: %w", errs.Wrap(cause, errs.KindLimited, "SIGN_IN_LIMITED", "too many attempts").
		WithField("username", "wait before trying again").
		WithRetry(12*time.Second))

	st := errs.Status(err)
	require.Equal(t, codes.ResourceExhausted, st.Code())
	require.Equal(t, "too many attempts", st.Message())
	require.NotContains(t, st.Proto().String(), "hunter2")
	require.ErrorContains(t, err, "hunter2", "the log needs the cause")
	require.ErrorIs(t, err, cause)

	details := st.Details()
	require.Len(t, details, 3)
	info := details[0].(*errdetails.ErrorInfo)
	require.Equal(t, "SIGN_IN_LIMITED", info.GetReason())
	require.Equal(t, "carekeep", info.GetDomain())
	violation := details[1].(*errdetails.BadRequest).GetFieldViolations()[0]
	require.Equal(t, "username", violation.GetField())
	require.Equal(t, 12*time.Second, details[2].(*errdetails.RetryInfo).GetRetryDelay().AsDuration())
}

func TestUnknownErrorsAreOpaque(t *testing.T) {
	st := errs.Status(errors.New("pq: duplicate key (name)=(Jane Doe)"))
	require.Equal(t, codes.Internal, st.Code())
	require.Equal(t, "internal error", st.Message())
	require.Equal(t, codes.OK, errs.Status(nil).Code())
}

func TestEveryKindHasItsCode(t *testing.T) {
	want := map[errs.Kind]codes.Code{
		errs.KindInternal: codes.Internal, errs.KindInvalid: codes.InvalidArgument,
		errs.KindUnauthenticated: codes.Unauthenticated, errs.KindDenied: codes.PermissionDenied,
		errs.KindNotFound: codes.NotFound, errs.KindExists: codes.AlreadyExists,
		errs.KindConflict: codes.Aborted, errs.KindPrecondition: codes.FailedPrecondition,
		errs.KindLimited: codes.ResourceExhausted, errs.KindTooLarge: codes.InvalidArgument,
		errs.KindUnavailable: codes.Unavailable, errs.KindDataLoss: codes.DataLoss,
		errs.KindDeadline: codes.DeadlineExceeded, errs.KindCanceled: codes.Canceled,
		errs.KindUnimplemented: codes.Unimplemented,
	}
	for kind, code := range want {
		require.Equal(t, code, errs.Status(errs.New(kind, "X", "x")).Code())
		require.Equal(t, kind, errs.KindOf(fmt.Errorf("wrapped: %w", errs.New(kind, "X", "x"))))
	}
}

// An error from another service keeps kind, reason, fields and retry over any number of hops.
func TestErrorsSurviveHops(t *testing.T) {
	var err error = errs.New(errs.KindConflict, "ETAG_STALE", "read it again").
		WithField("etag", "is not the current one").WithRetry(time.Second)
	for range 3 {
		err = fmt.Errorf("hop: %w", errs.Status(err).Err())
	}
	require.Equal(t, errs.KindConflict, errs.KindOf(err))
	require.Equal(t, "ETAG_STALE", errs.ReasonOf(err))
	require.Equal(t, time.Second, errs.RetryOf(err))
	require.Equal(t, "read it again", errs.Status(err).Message())
	require.NotContains(t, errs.Status(err).Message(), "hop")
	require.Len(t, errs.Status(err).Details(), 3)
}

func TestForeignStatusTextDoesNotLeave(t *testing.T) {
	err := fmt.Errorf("call: %w", status.Error(codes.Unavailable, "dial tcp 10.0.0.7:5432: refused"))
	require.Equal(t, errs.KindUnavailable, errs.KindOf(err))
	require.Equal(t, "DEPENDENCY_UNAVAILABLE", errs.ReasonOf(err))
	require.NotContains(t, errs.Status(err).Message(), "10.0.0.7")
	require.Equal(t, codes.Internal, errs.Status(status.Error(codes.Unknown, "x")).Code())
}

func TestContextErrors(t *testing.T) {
	require.Equal(t, codes.DeadlineExceeded, errs.Status(fmt.Errorf("query: %w", context.DeadlineExceeded)).Code())
	require.Equal(t, codes.Canceled, errs.Status(context.Canceled).Code())
	own := errs.Wrap(context.Canceled, errs.KindUnavailable, "DATABASE_UNAVAILABLE", "try again")
	require.Equal(t, errs.KindUnavailable, errs.KindOf(own), "a classified error goes before its cause")
}

func TestSentinelsMatchCopies(t *testing.T) {
	sentinel := errs.New(errs.KindNotFound, "PATIENT_NOT_FOUND", "no such patient")
	require.ErrorIs(t, errs.Wrap(io.EOF, errs.KindNotFound, "PATIENT_NOT_FOUND", "gone"), sentinel)
	require.NotErrorIs(t, errs.New(errs.KindNotFound, "NOTE_NOT_FOUND", "no such note"), sentinel)
	_ = sentinel.WithField("a", "b").WithRetry(time.Hour)
	require.Empty(t, sentinel.Violations(), "With… must not change a shared error")
	require.Zero(t, sentinel.Retry())
}
