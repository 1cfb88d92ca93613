package pg

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// request is a unit on its way through a group. The worker that holds it owns
// it until it answers on done.
type request struct {
	ctx     context.Context
	unit    *Unit
	done    chan error
	events  []*auditv1.Event
	culprit bool // the last attempt failed because of this unit

	span, leader trace.Span
	size         int // of the group it last ran in
}

// doneChannels are used again: each answers exactly once for each request sent.
var doneChannels = sync.Pool{New: func() any { return make(chan error, 1) }}

const tracerName = "github.com/carekeep/carekeep/libs/pg"

var tracer = otel.Tracer(tracerName)

// startSpan opens a span where the caller is traced. In a group the statements
// show in one trace only, so the spans of the others link to it.
func (r *request) startSpan() (end func(error)) {
	if !trace.SpanFromContext(r.ctx).IsRecording() {
		return func(error) {}
	}
	r.ctx, r.span = tracer.Start(r.ctx, "pg.Access.Do")
	return func(err error) {
		r.span.SetAttributes(attribute.Int("carekeep.pg.group_size", r.size))
		if r.leader != nil && r.leader != r.span {
			r.span.AddLink(trace.Link{SpanContext: r.leader.SpanContext()})
		}
		if err != nil {
			// The text of an SQL error can repeat values, so it stays out.
			r.span.SetStatus(codes.Error, "the unit was not committed")
		}
		r.span.End()
	}
}
