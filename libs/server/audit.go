package server

import (
	"context"
	"errors"
	"strings"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/telemetry"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
)

// recordTimeout bounds the recording of an event. It does not depend on the
// request's deadline: a request that was canceled is recorded too.
const recordTimeout = 5 * time.Second

// audit sees to it that the RPC left an event, and translates its error. An RPC
// that cannot be recorded fails (claim DH-16).
func (s *Server) audit(next handler) handler {
	return func(ctx context.Context, c *call) error {
		c.recorder.SetTrace(trace.SpanContextFromContext(ctx))
		err := next(ctx, c)
		if err == nil && c.method.rule.GetPhi() && !c.recorder.Released() {
			// A unary response was refused by withhold already; this is a stream that sent nothing.
			err = errNoEvidence
		}
		// The events of a stream tell of its parts: that one of them was denied says
		// nothing about how the whole ended.
		if !c.recorder.Covers(err != nil) || (c.streaming && err != nil) {
			if lost := s.record(ctx, c, err); lost != nil {
				s.logFailure(ctx, c, err)
				err = errs.Wrap(lost, errs.KindUnavailable, "AUDIT_UNAVAILABLE",
					"the request was refused because it cannot be recorded now")
			}
		}
		if err == nil {
			return nil
		}
		s.logFailure(ctx, c, err)
		return errs.Status(err).Err()
	}
}

// errNoEvidence is a handler's mistake: it answered with patient data, or would
// have, without committing an event.
var errNoEvidence = errs.New(errs.KindInternal, "EVIDENCE_MISSING", "internal error")

// withhold lets a message that may hold patient data out only after an event of
// this RPC is committed.
func (s *Server) withhold(_ context.Context, c *call, _ any) error {
	if c.method.rule.GetPhi() && !c.recorder.Released() {
		return errNoEvidence
	}
	return nil
}

func (s *Server) record(ctx context.Context, c *call, err error) error {
	outcome := evidence.Outcome(auditv1.Outcome_OUTCOME_OK, codes.OK, "")
	if err != nil {
		outcome = evidence.Failure(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return s.sink.Record(ctx, c.recorder.Event(outcome))
}

// logFailure logs what somebody has to look at. What a client did wrong is in the audit log.
func (s *Server) logFailure(ctx context.Context, c *call, err error) {
	if err == nil {
		return
	}
	kind := errs.KindOf(err)
	args := []any{
		telemetry.KeyMethod, c.method.name, telemetry.KeyCode, kind.Code().String(),
		telemetry.KeyReason, errs.ReasonOf(err), telemetry.KeyError, loggable(err),
	}
	switch kind {
	case errs.KindInternal, errs.KindDataLoss:
		s.log.ErrorContext(ctx, "request failed", args...)
	case errs.KindUnavailable, errs.KindDeadline:
		s.log.WarnContext(ctx, "request failed", args...)
	default:
		s.log.DebugContext(ctx, "request refused", args...)
	}
}

// loggable is the text of an error without what a database may have quoted in
// it: PostgreSQL repeats values in messages such as "invalid input syntax".
func loggable(err error) string {
	var sql interface {
		error
		SQLState() string
	}
	if errors.As(err, &sql) {
		return strings.ReplaceAll(err.Error(), sql.Error(), "database error, SQLSTATE "+sql.SQLState())
	}
	return err.Error()
}
