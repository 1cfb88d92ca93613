// Package evidence makes the audit events of one RPC and knows whether they are
// committed. libs/server starts a Recorder for every RPC, operations take events
// from it, libs/pg commits them with the data. It does not store events itself.
package evidence

import (
	"context"
	"sync"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Sink keeps events. It returns only once they are durable, or with an error.
type Sink interface {
	Record(ctx context.Context, events ...*auditv1.Event) error
}

// Recorder makes the events of one RPC or job. It is safe for concurrent use.
// What the interceptors learn (peer, caller, trace) is filled in as they learn
// it: an event made before that lacks it.
type Recorder struct {
	now    func() time.Time
	method string
	call   uuid.UUID // the same in all events; a UUIDv7, so that it says when the call began

	mu        sync.Mutex
	service   accessv1.Service
	peer      accessv1.Service
	action    accessv1.Action
	caller    *caller.Caller
	practice  uuid.UUID // where there is no caller: of a job, or of a patient's token
	address   string
	purpose   accessv1.Purpose
	trace     trace.SpanContext
	withheld  []string
	committed tally
}

// tally says which outcomes have been committed.
type tally struct{ ok, denied, failed bool }

type contextKey struct{}

// New returns the recorder of an RPC. Only libs/server calls it.
func New(service accessv1.Service, method string, action accessv1.Action, now func() time.Time) *Recorder {
	return &Recorder{service: service, method: method, action: action, now: now, call: uuid.Must(uuid.NewV7())}
}

// Began is when the call began, as its id says: by the minute of that, calls that were
// served are compared with those in the log.
func (r *Recorder) Began() time.Time { return Began(r.call) }

// Began is the time in the id of a call.
func Began(call uuid.UUID) time.Time {
	seconds, nanoseconds := call.Time().UnixTime()
	return time.Unix(seconds, nanoseconds).UTC()
}

// NewJob returns a recorder for work that no RPC asked for, such as a scheduled
// rotation. The method names the job, as "jobs/RotateKeys".
func NewJob(service accessv1.Service, method string, action accessv1.Action) *Recorder {
	return New(service, method, action, time.Now)
}

// For makes a job's events those of a practice.
func (r *Recorder) For(practice uuid.UUID) *Recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.practice = practice
	return r
}

// With returns a context that carries the recorder.
func With(ctx context.Context, r *Recorder) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// From returns the recorder of the RPC. Outside an RPC it is a new one that knows
// nothing; jobs use NewJob and With.
func From(ctx context.Context) *Recorder {
	if r, ok := ctx.Value(contextKey{}).(*Recorder); ok {
		return r
	}
	return NewJob(accessv1.Service_SERVICE_UNSPECIFIED, "", accessv1.Action_ACTION_UNSPECIFIED)
}

// SetPeer records the service that called and the address it called from.
func (r *Recorder) SetPeer(peer accessv1.Service, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peer = peer
	if r.caller == nil {
		r.address = address
	}
}

// SetCaller records whom the request acts for.
func (r *Recorder) SetCaller(c *caller.Caller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caller, r.address = c, c.Address
}

// SetBearer records for whom an RPC without a caller turned out to act: the practice
// and purpose of the one-time token that it carried, and the client's address.
func (r *Recorder) SetBearer(practice uuid.UUID, purpose accessv1.Purpose, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.practice, r.purpose, r.address = practice, purpose, address
}

// SetWithheld records which fields of the response the caller will not see.
func (r *Recorder) SetWithheld(fields []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withheld = fields
}

// SetTrace records the trace that the request belongs to.
func (r *Recorder) SetTrace(sc trace.SpanContext) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = sc
}

// Event returns a new event of this RPC with everything known about it filled in,
// outcome OK, and then the changes of mods. The risk follows from the result,
// unless a mod set it.
func (r *Recorder) Event(mods ...func(*auditv1.Event)) *auditv1.Event {
	e := r.prefilled()
	for _, mod := range mods {
		mod(e)
	}
	if e.GetRisk() == auditv1.Risk_RISK_UNSPECIFIED {
		e.Risk = RiskOf(e.GetAction(), e.GetOutcome(), e.GetReason())
	}
	return e
}

func (r *Recorder) prefilled() *auditv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &auditv1.Event{
		// Version 7 sorts by time, which keeps the indexes of outbox and log dense. NewV7
		// fails only where the system has no randomness, and then crypto/rand ends the process.
		EventId:     uuid.Must(uuid.NewV7()).String(),
		EventTime:   timestamppb.New(r.now().UTC().Truncate(time.Microsecond)),
		Service:     r.service,
		Method:      r.method,
		Caller:      r.peer,
		Action:      r.action,
		Outcome:     auditv1.Outcome_OUTCOME_OK,
		Address:     r.address,
		Traceparent: traceparent(r.trace),
		Purpose:     r.purpose,
		CallId:      r.call[:],
	}
	if r.practice != uuid.Nil {
		e.PracticeId = r.practice.String()
	}
	if c := r.caller; c != nil {
		e.UserId, e.Username, e.SessionId = c.User.String(), c.Username, c.Session.String()
		e.Purpose, e.WithheldFields = c.Purpose, r.withheld
		if c.Device != uuid.Nil {
			e.DeviceId = c.Device.String()
		}
		if c.Practice != uuid.Nil {
			e.PracticeId = c.Practice.String()
		}
	}
	return e
}

// Committed notes that events are durable. Events of another method are not
// counted: they are no evidence for this RPC. Nor are those of keys that were made
// or unwrapped on the way: they do not say what became of the access itself.
func (r *Recorder) Committed(events []*auditv1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if e.GetMethod() != r.method || aboutKeys(e.GetAction()) {
			continue
		}
		switch e.GetOutcome() {
		case auditv1.Outcome_OUTCOME_OK:
			r.committed.ok = true
		case auditv1.Outcome_OUTCOME_DENIED:
			r.committed.denied = true
		case auditv1.Outcome_OUTCOME_FAILED:
			r.committed.failed = true
		}
	}
}

func aboutKeys(a accessv1.Action) bool {
	return a == accessv1.Action_ACTION_KEY_CREATE || a == accessv1.Action_ACTION_KEY_UNWRAP
}

// Released reports whether data may leave: an event is committed that says so.
func (r *Recorder) Released() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed.ok
}

// Covers reports whether the committed events already tell how the RPC ended. A
// success is covered by any event. A failure is covered by a denial or failure: an
// event that says OK would tell the opposite of what the client saw.
func (r *Recorder) Covers(failed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed.denied || r.committed.failed || (r.committed.ok && !failed)
}

const hexDigits = "0123456789abcdef"

// traceparent spells a span context as the W3C header does, "" where there is none.
func traceparent(sc trace.SpanContext) string {
	if !sc.IsValid() {
		return ""
	}
	t, s, f := sc.TraceID(), sc.SpanID(), byte(sc.TraceFlags()&trace.FlagsSampled)
	out := make([]byte, 0, 55)
	out = append(out, "00-"...)
	for _, b := range t {
		out = append(out, hexDigits[b>>4], hexDigits[b&15])
	}
	out = append(out, '-')
	for _, b := range s {
		out = append(out, hexDigits[b>>4], hexDigits[b&15])
	}
	return string(append(out, '-', '0', hexDigits[f]))
}
