package rights

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Request is what is stored of a request, and shown.
type Request = recordsv1.RightsRequest

var requests = kind[*Request]{rowType: store.TypeRightsRequest, collection: "rightsRequests"}

var (
	errClosed      = errs.New(errs.KindPrecondition, "REQUEST_CLOSED", "The request is completed; record another one.")
	errNotPaused   = errs.New(errs.KindPrecondition, "CLOCK_RUNS", "The clock of this request is not stopped.")
	errPaused      = errs.New(errs.KindPrecondition, "CLOCK_PAUSED", "The clock of this request is stopped: record the person's answer first.")
	errDecided     = errs.New(errs.KindPrecondition, "REQUEST_DECIDED", "The request is decided; record another one.")
	errUndecided   = errs.New(errs.KindPrecondition, "REQUEST_UNDECIDED", "The request is not decided yet.")
	errExtended    = errs.New(errs.KindPrecondition, "ALREADY_EXTENDED", "The time of a request is extended once.")
	errGround      = errs.New(errs.KindInvalid, "GROUND_REQUIRED", "A refusal names the rule that it rests on, and gives its reason in plain language.").WithField("ground", "is required").WithField("reason", "is required")
	errUnverified  = errs.New(errs.KindPrecondition, "IDENTITY_NOT_VERIFIED", "Nothing is handed over before it is recorded by which two different methods the person's identity was verified.")
	errMethods     = errs.New(errs.KindInvalid, "VERIFICATION_TOO_WEAK", "An identity is verified by two different methods at least.").WithField("verification.methods", "must name two different methods")
	errNoResource  = errs.New(errs.KindInvalid, "RESOURCE_REQUIRED", "An amendment says what it is about.").WithField("rights_request.resource", "is required, as Observation/{uuid}")
	errByAmendment = errs.New(errs.KindPrecondition, "ACCEPT_BY_CONTENT", "An amendment is granted by accepting it with the new content of the resource.")
)

// Create records a request and starts its clock.
func (r *Rights) Create(ctx context.Context, patient uuid.UUID, in *Request) (*Request, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	received, err := r.past(in.GetReceiveTime())
	if err != nil {
		return nil, err
	}
	if in.GetKind() == recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT && in.GetResource() == "" {
		return nil, errNoResource
	}
	msg := &Request{
		Kind: in.GetKind(), Law: in.GetLaw(), Nation: in.GetNation(), TimeZone: in.GetTimeZone(), ReceiveTime: received,
		Description: in.GetDescription(), Resource: in.GetResource(), State: recordsv1.RightsState_RIGHTS_STATE_OPEN,
	}
	owner, _, err := requests.find(ctx, r, who, Place{Patient: patient})
	if err != nil {
		return nil, err
	}
	if err := r.fee(ctx, who, patient, msg); err != nil {
		return nil, err
	}
	return r.shown(requests.add(ctx, r, who, owner, requests.fresh(r, patient, msg), rider{}))
}

// Get returns a request.
func (r *Rights) Get(ctx context.Context, at Place) (*Request, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	return r.shown(requests.read(ctx, r, who, at))
}

// List returns a patient's requests, newest first, and the token of the next page, empty at the end.
func (r *Rights) List(ctx context.Context, patient uuid.UUID, page chart.Page) ([]*Request, string, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, "", err
	}
	list, next, err := requests.list(ctx, r, who, patient, page)
	return listed(list, next, err, r.shown)
}

// changeRequest is change by a user on a request that is not completed.
func (r *Rights) changeRequest(ctx context.Context, at Place, apply func(who actor, m *Request) error) (*Request, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	return r.shown(requests.change(ctx, r, who, at, func(m *Request) error {
		if m.GetState() == recordsv1.RightsState_RIGHTS_STATE_COMPLETED {
			return errClosed
		}
		return apply(who, m)
	}, rider{}))
}

// Verify records how the identity of whoever asks was verified (claim DX-33).
func (r *Rights) Verify(ctx context.Context, at Place, in *recordsv1.Verification) (*Request, error) {
	return r.changeRequest(ctx, at, func(who actor, m *Request) error {
		var err error
		m.Verification, err = r.verification(who, in)
		return err
	})
}

// verification keeps the methods, who and when, and nothing of what was shown.
func (r *Rights) verification(who actor, in *recordsv1.Verification) (*recordsv1.Verification, error) {
	methods := slices.Clone(in.GetMethods())
	slices.Sort(methods)
	methods = slices.Compact(methods)
	if len(methods) < 2 {
		return nil, errMethods
	}
	return &recordsv1.Verification{Methods: methods, User: who.name(), VerifyTime: timestamppb.New(r.now())}, nil
}

// Pause stops the clock.
func (r *Rights) Pause(ctx context.Context, at Place, reason recordsv1.PauseReason) (*Request, error) {
	return r.changeRequest(ctx, at, func(_ actor, m *Request) error {
		switch m.GetState() {
		case recordsv1.RightsState_RIGHTS_STATE_OPEN:
		case recordsv1.RightsState_RIGHTS_STATE_PAUSED:
			return errPaused
		default:
			return errDecided
		}
		m.State = recordsv1.RightsState_RIGHTS_STATE_PAUSED
		m.Pauses = append(m.Pauses, &recordsv1.ClockPause{Reason: reason, StartTime: timestamppb.New(r.now())})
		return nil
	})
}

// Resume starts it again.
func (r *Rights) Resume(ctx context.Context, at Place) (*Request, error) {
	return r.changeRequest(ctx, at, func(_ actor, m *Request) error {
		if m.GetState() != recordsv1.RightsState_RIGHTS_STATE_PAUSED {
			return errNotPaused
		}
		m.State = recordsv1.RightsState_RIGHTS_STATE_OPEN
		m.Pauses[len(m.GetPauses())-1].EndTime = timestamppb.New(r.now())
		return nil
	})
}

// Extend records that the person was told, now, that it takes longer.
func (r *Rights) Extend(ctx context.Context, at Place, reason string) (*Request, error) {
	return r.changeRequest(ctx, at, func(_ actor, m *Request) error {
		switch {
		case m.GetExtension() != nil:
			return errExtended
		case m.GetDecision() != nil:
			return errDecided
		}
		m.Extension = &recordsv1.Extension{TellTime: timestamppb.New(r.now()), Reason: reason}
		return nil
	})
}

// Decide grants or refuses a request.
func (r *Rights) Decide(ctx context.Context, at Place, d *recordsv1.Decision) (*Request, error) {
	return r.changeRequest(ctx, at, func(who actor, m *Request) error {
		if d.GetGranted() && m.GetKind() == recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT {
			return errByAmendment
		}
		return r.decide(who, m, d)
	})
}

func (r *Rights) decide(who actor, m *Request, d *recordsv1.Decision) error {
	switch {
	case m.GetDecision() != nil:
		return errDecided
	case m.GetState() == recordsv1.RightsState_RIGHTS_STATE_PAUSED:
		return errPaused
	case !d.GetGranted() && (d.GetGround() == "" || d.GetReason() == ""):
		return errGround
	}
	m.State = recordsv1.RightsState_RIGHTS_STATE_REFUSED
	if d.GetGranted() {
		m.State = recordsv1.RightsState_RIGHTS_STATE_GRANTED
	}
	m.Decision = &recordsv1.Decision{
		Granted: d.GetGranted(), Ground: d.GetGround(), Reason: d.GetReason(), User: who.name(), DecideTime: timestamppb.New(r.now()),
	}
	return nil
}

// Complete closes a request that was decided; one of type erasure names the erasure that was decided likewise.
// The clock stops here: until the answer is given, it is not given in time.
func (r *Rights) Complete(ctx context.Context, at Place, evidence, erasure string) (*Request, error) {
	decided, err := r.erasure(ctx, at.Patient, erasure)
	if err != nil {
		return nil, err
	}
	return r.changeRequest(ctx, at, func(who actor, m *Request) error {
		granted := m.GetDecision().GetGranted()
		switch {
		case m.GetDecision() == nil:
			return errUndecided
		case granted && m.GetVerification() == nil:
			return errUnverified
		}
		if err := answered(m, erasure, decided); err != nil {
			return err
		}
		m.State, m.Erasure = recordsv1.RightsState_RIGHTS_STATE_COMPLETED, erasure
		m.Completion = &recordsv1.Completion{Evidence: evidence, User: who.name(), CompleteTime: timestamppb.New(r.now())}
		return nil
	})
}

// State files a statement of the person. It may come after the request is closed:
// who is refused may disagree for as long as the record is kept.
func (r *Rights) State(ctx context.Context, at Place, text string) (*Request, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	return r.state(ctx, who, at, text)
}

const maxStatements = 20

var errStatements = errs.New(errs.KindPrecondition, "TOO_MANY_STATEMENTS", "This request has as many statements as it can hold.")

func (r *Rights) state(ctx context.Context, who actor, at Place, text string) (*Request, error) {
	return r.shown(requests.change(ctx, r, who, at, func(m *Request) error {
		if len(m.GetStatements()) >= maxStatements {
			return errStatements
		}
		m.Statements = append(m.Statements, &recordsv1.Statement{Text: text, FileTime: timestamppb.New(r.now()), ByToken: who.byToken()})
		return nil
	}, rider{}))
}

// past reads a time that cannot be in the future; none is now.
func (r *Rights) past(t *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
	now := r.now()
	switch {
	case t == nil:
		return timestamppb.New(now), nil
	case !t.IsValid() || t.AsTime().After(now):
		return nil, errFuture
	}
	return timestamppb.New(t.AsTime().Truncate(time.Microsecond)), nil
}

// shown is the request as its readers see it.
func (r *Rights) shown(e entry[*Request], err error) (*Request, error) {
	if err != nil {
		return nil, err
	}
	m := proto.Clone(e.msg).(*Request)
	m.Name = requests.name(Place{e.row.Patient, e.row.ID})
	m.CreateTime, m.UpdateTime, m.Etag = timestamppb.New(e.row.Created), timestamppb.New(e.row.Updated), chart.Etag(e.row.Version)
	return m, r.clock(m)
}
