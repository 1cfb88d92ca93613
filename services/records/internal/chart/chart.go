// Package chart holds the operations on patients' charts: read, list, search,
// create, change and delete. Each one commits its audit events together with what it
// reads or writes. It knows no gRPC and no views of FHIR: documents go in and out as JSON.
package chart

import (
	"context"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Chart runs the operations. Safe for concurrent use.
type Chart struct {
	access *pg.Access
	keys   *keys.Keys
	index  *index.Generations
	now    func() time.Time
}

// New makes a Chart; now is the server's clock.
func New(access *pg.Access, k *keys.Keys, x *index.Generations, now func() time.Time) *Chart {
	return &Chart{access: access, keys: k, index: x, now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }}
}

// Place is where a resource stands: in a patient's chart.
type Place struct {
	Type        string
	Patient, ID uuid.UUID
}

// Document is a resource with its content.
type Document struct {
	Place
	Version          int64
	Created, Updated time.Time
	JSON             []byte
}

// NotFound answers for what does not exist and for what the caller may not see
// alike (claim DH-55); the audit event tells them apart.
var NotFound = errs.New(errs.KindNotFound, "NOT_FOUND", "There is no such resource, or it is not yours to see.")

// Reasons that only the audit log shows.
const (
	reasonUnknown    = "UNKNOWN"
	reasonNotOnTeam  = "NOT_ON_CARE_TEAM"
	reasonEtagStale  = "ETAG_STALE"
	reasonNoRequests = "REQUEST_ID_REUSED"
)

var (
	errStale     = errs.New(errs.KindConflict, reasonEtagStale, "The resource has changed since it was read: read it again, and send the change with its new etag.")
	errExhausted = errs.New(errs.KindPrecondition, "KEY_EXHAUSTED", "The patient's data key has sealed as many documents as is safe (2^31): rotate it.")
	errBusy      = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The patient was changed at the same time: try again.")
	errReused    = errs.New(errs.KindInvalid, reasonNoRequests, "This request_id was used for another request: make a new UUID for each.").
			WithField("request_id", "was used before with other content")
)

// View is the caller and what the caller sees.
func View(ctx context.Context) (*caller.Caller, store.Viewer, error) {
	c, ok := caller.From(ctx)
	if !ok {
		return nil, store.Viewer{}, errs.New(errs.KindUnauthenticated, "NO_CALLER", "The request names no caller.")
	}
	return c, store.Viewer{
		Practice: c.Practice,
		User:     c.User,
		Subjects: c.Subjects(),
		Whole:    c.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE),
		Closed:   watch.Closed(ctx),
	}, nil
}

// names are the collections of the types that the API offers as typed messages.
var names = map[string]string{
	fhir.TypeDocumentReference: "notes",
	fhir.TypeMedicationRequest: "prescriptions",
	fhir.TypeAppointment:       "appointments",
	TypeFile:                   "documents",
	TypeWorkingHours:           "workingHours",
}

// Collection is how events name the resources of a type; the patient's own
// Bare needs no name beside the patient.
func Collection(resourceType string) string {
	if name, ok := names[resourceType]; ok {
		return name
	}
	if resourceType == fhir.TypePatient {
		return ""
	}
	return resourceType
}

// About names a resource in an event, and the patient it belongs to.
func About(at Place, version int64) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		if at.Patient != uuid.Nil {
			evidence.Patient(at.Patient)(e)
		}
		name := Collection(at.Type)
		if name != "" {
			name += "/" + at.ID.String()
		}
		evidence.Resource(name, version)(e)
	}
}

// Judge makes the event of an access to what was, or was not, found. The error
// is for the client; the event is to be committed in either case.
func Judge(ctx context.Context, found, visible bool, mods ...func(*auditv1.Event)) (*auditv1.Event, error) {
	rec := evidence.From(ctx)
	switch {
	case !found:
		return rec.Event(append(mods, failed(auditv1.Outcome_OUTCOME_FAILED, reasonUnknown))...), NotFound
	case !visible:
		return rec.Event(append(mods, failed(auditv1.Outcome_OUTCOME_DENIED, reasonNotOnTeam))...), NotFound
	}
	return rec.Event(mods...), nil
}

// ReasonGlass marks every access that a broken glass alone allowed.
const ReasonGlass = "BREAK_GLASS"

// ThroughGlass marks the event of an access that a broken glass alone allowed.
func ThroughGlass(glass bool) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		if glass {
			e.Reason, e.Risk = ReasonGlass, auditv1.Risk_RISK_HIGH
		}
	}
}

// errGlass: an emergency needs neither, and a care team would open the chart for good.
var errGlass = errs.New(errs.KindDenied, "NOT_THROUGH_GLASS",
	"This chart is open to you for an emergency only: nothing is deleted in it, and its care team stays as it is.")

// errReferred: a referral ends, and what these do would not.
var errReferred = errs.New(errs.KindDenied, "NOT_THROUGH_REFERRAL",
	"This patient is referred to you: the care team is for its members to change, and the chart for them to delete.")

func failed(o auditv1.Outcome, reason string) func(*auditv1.Event) {
	return evidence.Outcome(o, errs.KindNotFound.Code(), reason)
}
