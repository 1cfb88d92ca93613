package evidence

import (
	"math"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
)

// Patient names the patient that the event is about.
func Patient(id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.PatientId = id.String() }
}

// Resource names the resource, as "notes/{uuid}", and its version after a change (0 for none).
func Resource(name string, version int64) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Resource, e.ResourceVersion = name, version }
}

// Outcome says how it ended; code and reason are those of the error, codes.OK and "" for none.
func Outcome(o auditv1.Outcome, code codes.Code, reason string) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		e.Outcome, e.Code, e.Reason = o, int32(min(uint32(code), math.MaxInt32)), reason
	}
}

// Failure is Outcome as it follows from an error: refusals are DENIED, the rest FAILED.
func Failure(err error) func(*auditv1.Event) {
	kind := errs.KindOf(err)
	o := auditv1.Outcome_OUTCOME_FAILED
	switch kind {
	case errs.KindDenied, errs.KindUnauthenticated, errs.KindLimited:
		o = auditv1.Outcome_OUTCOME_DENIED
	}
	reason := errs.ReasonOf(err)
	if reason == "" {
		reason = "INTERNAL"
	}
	return Outcome(o, kind.Code(), reason)
}

// Count says how many resources a list, search or import touched for the patient.
func Count(n int) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Count = int32(max(0, min(n, math.MaxInt32))) }
}

// Digests holds the keyed digests of the document before and after a change (claim DH-36).
func Digests(before, after []byte) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.BeforeDigest, e.AfterDigest = before, after }
}

// Action replaces the action of the RPC's rule where an operation did something else.
func Action(a accessv1.Action) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Action = a }
}

// User names the user where no caller is known: what a sign-in claimed to be.
// uuid.Nil leaves the id empty.
func User(id uuid.UUID, name string) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		e.Username, e.UserId = name, ""
		if id != uuid.Nil {
			e.UserId = id.String()
		}
	}
}

// Practice names the practice where it is not the caller's; uuid.Nil makes it empty.
func Practice(id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		e.PracticeId = ""
		if id != uuid.Nil {
			e.PracticeId = id.String()
		}
	}
}

// Session names the session where no caller is known, as after a sign-in.
func Session(id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.SessionId = id.String() }
}

// Device names the device where no caller is known.
func Device(id uuid.UUID) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.DeviceId = id.String() }
}

// Address is the client's network address where no caller token carries it.
func Address(a string) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Address = a }
}

// Risk sets the level where it does not follow from action and outcome.
func Risk(level auditv1.Risk) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Risk = level }
}

// Reason says in a stable name why, where the outcome is no failure.
func Reason(reason string) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Reason = reason }
}

// Certificate is the signed certificate of a destruction.
func Certificate(signed string) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Certificate = signed }
}
