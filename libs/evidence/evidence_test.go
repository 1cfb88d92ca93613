package evidence_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

const method = "/carekeep.records.v1.RecordsService/GetPatient"

func newRecorder() *evidence.Recorder {
	return evidence.New(accessv1.Service_SERVICE_RECORDS, method, accessv1.Action_ACTION_READ,
		func() time.Time { return time.Date(2026, 3, 1, 13, 4, 22, 123456789, time.FixedZone("x", 3600)) })
}

func TestDH16_EventSaysWhoWhatWhenAndWhere(t *testing.T) {
	r := newRecorder()
	c := &caller.Caller{
		User: uuid.Must(uuid.NewV7()), Practice: uuid.Must(uuid.NewV7()), Session: uuid.Must(uuid.NewV7()),
		Username: "dr.smith", Purpose: accessv1.Purpose_PURPOSE_TREATMENT, Address: "192.0.2.7", Device: uuid.New(),
	}
	r.SetWithheld([]string{"Patient.telecoms"})
	r.SetPeer(accessv1.Service_SERVICE_GATEWAY, "10.0.0.1")
	require.Equal(t, "10.0.0.1", r.Event().GetAddress(), "before the caller is known, the peer's address is all there is")
	r.SetCaller(c)
	r.SetTrace(trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab, 15: 1}, SpanID: trace.SpanID{7: 2}, TraceFlags: trace.FlagsSampled}))

	patient := uuid.Must(uuid.NewV7())
	e := r.Event(evidence.Patient(patient), evidence.Resource("notes/1", 3), evidence.Count(2), evidence.Digests([]byte{1}, []byte{2}))
	id, err := uuid.Parse(e.GetEventId())
	require.NoError(t, err)
	require.Equal(t, uuid.Version(7), id.Version())
	require.Equal(t, time.Date(2026, 3, 1, 12, 4, 22, 123456000, time.UTC), e.GetEventTime().AsTime())
	require.Equal(t, c.User.String(), e.GetUserId())
	require.Equal(t, c.Practice.String(), e.GetPracticeId())
	require.Equal(t, c.Session.String(), e.GetSessionId())
	require.Equal(t, "dr.smith", e.GetUsername())
	require.Equal(t, accessv1.Service_SERVICE_RECORDS, e.GetService())
	require.Equal(t, accessv1.Service_SERVICE_GATEWAY, e.GetCaller())
	require.Equal(t, method, e.GetMethod())
	require.Equal(t, accessv1.Action_ACTION_READ, e.GetAction())
	require.Equal(t, accessv1.Purpose_PURPOSE_TREATMENT, e.GetPurpose())
	require.Equal(t, "192.0.2.7", e.GetAddress())
	require.Equal(t, "00-ab000000000000000000000000000001-0000000000000002-01", e.GetTraceparent())
	require.Equal(t, patient.String(), e.GetPatientId())
	require.Equal(t, "notes/1", e.GetResource())
	require.EqualValues(t, 3, e.GetResourceVersion())
	require.EqualValues(t, 2, e.GetCount())
	require.Equal(t, auditv1.Outcome_OUTCOME_OK, e.GetOutcome())
	require.Equal(t, auditv1.Risk_RISK_LOW, e.GetRisk())
	require.NotEqual(t, e.GetEventId(), r.Event().GetEventId())
	require.Equal(t, c.Device.String(), e.GetDeviceId())
	require.Equal(t, []string{"Patient.telecoms"}, e.GetWithheldFields())
	require.Len(t, e.GetCallId(), 16)
	require.Equal(t, e.GetCallId(), r.Event().GetCallId(), "all events of a call name the same one")
	require.NotEqual(t, e.GetCallId(), newRecorder().Event().GetCallId())
	require.WithinDuration(t, time.Now(), r.Began(), time.Minute)
	require.Equal(t, r.Began(), evidence.Began(uuid.UUID(e.GetCallId())))
}

func TestModsReplaceWhatTheRecorderKnows(t *testing.T) {
	r := newRecorder()
	user, practice, session := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	e := r.Event(evidence.User(user, "eve"), evidence.Practice(practice), evidence.Session(session), evidence.Address("198.51.100.1"),
		evidence.Action(accessv1.Action_ACTION_EXPORT), evidence.Outcome(auditv1.Outcome_OUTCOME_DENIED, codes.PermissionDenied, "NOT_ON_CARE_TEAM"))
	require.Equal(t, user.String(), e.GetUserId())
	require.Equal(t, practice.String(), e.GetPracticeId())
	require.Equal(t, session.String(), e.GetSessionId())
	require.Equal(t, "198.51.100.1", e.GetAddress())
	require.Equal(t, "NOT_ON_CARE_TEAM", e.GetReason())
	require.EqualValues(t, codes.PermissionDenied, e.GetCode())
	require.Equal(t, auditv1.Risk_RISK_HIGH, e.GetRisk(), "the risk follows from the mods, not from what was before")
	e = r.Event(evidence.User(uuid.Nil, "nobody"), evidence.Practice(uuid.Nil))
	require.Empty(t, e.GetUserId())
	require.Empty(t, e.GetPracticeId())
}

func TestFailureTellsDenialsFromFaults(t *testing.T) {
	for kind, want := range map[errs.Kind]auditv1.Outcome{
		errs.KindDenied: auditv1.Outcome_OUTCOME_DENIED, errs.KindUnauthenticated: auditv1.Outcome_OUTCOME_DENIED,
		errs.KindLimited: auditv1.Outcome_OUTCOME_DENIED, errs.KindNotFound: auditv1.Outcome_OUTCOME_FAILED,
		errs.KindInvalid: auditv1.Outcome_OUTCOME_FAILED, errs.KindUnavailable: auditv1.Outcome_OUTCOME_FAILED,
	} {
		e := newRecorder().Event(evidence.Failure(errs.New(kind, "SOME_REASON", "text")))
		require.Equal(t, want, e.GetOutcome(), kind)
		require.Equal(t, "SOME_REASON", e.GetReason())
		require.EqualValues(t, kind.Code(), e.GetCode())
	}
	e := newRecorder().Event(evidence.Failure(errors.New("unknown")))
	require.Equal(t, "INTERNAL", e.GetReason())
	require.EqualValues(t, codes.Internal, e.GetCode())
}

func TestDH35_EveryEventHasOneOfFourRisks(t *testing.T) {
	for a := range accessv1.Action_name {
		for o := range auditv1.Outcome_name {
			for _, reason := range []string{"", "SEAL_BROKEN", "OTHER"} {
				risk := evidence.RiskOf(accessv1.Action(a), auditv1.Outcome(o), reason)
				require.Contains(t, auditv1.Risk_name, int32(risk))
				require.NotEqual(t, auditv1.Risk_RISK_UNSPECIFIED, risk)
				require.Equal(t, reason == "SEAL_BROKEN", risk == auditv1.Risk_RISK_CRITICAL)
				if auditv1.Outcome(o) == auditv1.Outcome_OUTCOME_DENIED {
					require.GreaterOrEqual(t, risk, auditv1.Risk_RISK_MEDIUM)
				}
			}
		}
	}
	ok, failed := auditv1.Outcome_OUTCOME_OK, auditv1.Outcome_OUTCOME_FAILED
	for want, actions := range map[auditv1.Risk][]accessv1.Action{
		auditv1.Risk_RISK_LOW: {
			accessv1.Action_ACTION_READ, accessv1.Action_ACTION_LIST, accessv1.Action_ACTION_SEARCH, accessv1.Action_ACTION_SIGN_IN,
			accessv1.Action_ACTION_SIGN_OUT, accessv1.Action_ACTION_ADMIT, accessv1.Action_ACTION_KEY_UNWRAP, accessv1.Action_ACTION_VERIFY,
		},
		auditv1.Risk_RISK_MEDIUM: {
			accessv1.Action_ACTION_UNSPECIFIED, accessv1.Action_ACTION_CREATE, accessv1.Action_ACTION_UPDATE, accessv1.Action_ACTION_DELETE,
			accessv1.Action_ACTION_IMPORT, accessv1.Action_ACTION_FACTOR_CHANGE, accessv1.Action_ACTION_SESSION_CHANGE,
			accessv1.Action_ACTION_KEY_CREATE, accessv1.Action_ACTION_BACKUP, accessv1.Action_ACTION_KEY_ROTATE,
			accessv1.Action_ACTION_KEY_REWRAP, accessv1.Action_ACTION_KEY_RESEAL,
		},
		auditv1.Risk_RISK_HIGH: {accessv1.Action_ACTION_EXPORT, accessv1.Action_ACTION_ROLE_CHANGE, accessv1.Action_ACTION_RESTORE, accessv1.Action_ACTION_KEY_DESTROY},
	} {
		for _, a := range actions {
			require.Equal(t, want, evidence.RiskOf(a, ok, ""), a)
		}
	}
	require.Equal(t, auditv1.Risk_RISK_MEDIUM, evidence.RiskOf(accessv1.Action_ACTION_SIGN_IN, failed, ""))
	require.Equal(t, auditv1.Risk_RISK_HIGH, evidence.RiskOf(999, ok, ""), "an action that nobody classified is not low")
}

func TestCommittedEventsReleaseAndCover(t *testing.T) {
	denied := evidence.Outcome(auditv1.Outcome_OUTCOME_DENIED, codes.NotFound, "X")
	failed := evidence.Outcome(auditv1.Outcome_OUTCOME_FAILED, codes.Internal, "X")
	foreign := func(e *auditv1.Event) { e.Method = "/other" }
	for name, tc := range map[string]struct {
		mods                              []func(*auditv1.Event)
		commit                            bool
		released, coversOK, coversFailure bool
	}{
		"nothing":       {},
		"ok":            {commit: true, released: true, coversOK: true},
		"denied":        {mods: []func(*auditv1.Event){denied}, commit: true, coversOK: true, coversFailure: true},
		"failed":        {mods: []func(*auditv1.Event){failed}, commit: true, coversOK: true, coversFailure: true},
		"another RPC's": {mods: []func(*auditv1.Event){foreign}, commit: true},
		"a key's":       {mods: []func(*auditv1.Event){evidence.Action(accessv1.Action_ACTION_KEY_UNWRAP)}, commit: true},
		"a lost key's":  {mods: []func(*auditv1.Event){evidence.Action(accessv1.Action_ACTION_KEY_CREATE), failed}, commit: true},
	} {
		r := newRecorder()
		e := r.Event(tc.mods...)
		if tc.commit {
			r.Committed([]*auditv1.Event{e})
		}
		require.Equal(t, tc.released, r.Released(), name)
		require.Equal(t, tc.coversOK, r.Covers(false), name)
		require.Equal(t, tc.coversFailure, r.Covers(true), name)
	}
}

func TestRecorderTravelsInTheContextAndIsNeverNil(t *testing.T) {
	require.NotNil(t, evidence.From(context.Background()).Event())
	job := evidence.NewJob(accessv1.Service_SERVICE_BACKUP, "jobs/Prune", accessv1.Action_ACTION_DELETE)
	require.Same(t, job, evidence.From(evidence.With(context.Background(), job)))
	require.Equal(t, "jobs/Prune", job.Event().GetMethod())
	practice := uuid.New()
	require.Equal(t, practice.String(), job.For(practice).Event().GetPracticeId())
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	r := newRecorder()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				r.SetPeer(accessv1.Service_SERVICE_GATEWAY, "a")
				r.SetCaller(&caller.Caller{})
				r.Committed([]*auditv1.Event{r.Event()})
				_ = r.Released()
			}
		})
	}
	wg.Wait()
	require.True(t, r.Released())
}

func BenchmarkEvent(b *testing.B) {
	r := newRecorder()
	r.SetCaller(&caller.Caller{User: uuid.New(), Practice: uuid.New(), Session: uuid.New(), Username: "dr.smith"})
	patient := evidence.Patient(uuid.New())
	b.ReportAllocs()
	for b.Loop() {
		r.Event(patient)
	}
}
