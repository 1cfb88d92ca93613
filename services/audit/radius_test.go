package main

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

var (
	sessionX = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000d1")
	sessionY = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000d2")
	deviceX  = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000d3")
	patient2 = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000f2")
	patient3 = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000f3")
)

// exposure is a whole answer.
type exposure struct {
	patients map[string]map[string]*auditv1.ExposedResource
	parts    int
	summary  *auditv1.RadiusSummary
}

func (d *room) radius(q *auditv1.RadiusQuery, more ...accessv1.Permission) (*exposure, error) {
	d.t.Helper()
	permissions := append([]accessv1.Permission{accessv1.Permission_PERMISSION_BLAST_RADIUS_READ}, more...)
	stream, err := d.client.ComputeRadius(asUser(d.t, officer, practiceA, d.now(), permissions...), &auditv1.ComputeRadiusRequest{Query: q})
	require.NoError(d.t, err)
	x := &exposure{patients: map[string]map[string]*auditv1.ExposedResource{}}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			require.NotNil(d.t, x.summary, "the answer has no end")
			return x, nil
		}
		if err != nil {
			return nil, err
		}
		require.Nil(d.t, x.summary, "something comes after the summary")
		if x.summary = m.GetSummary(); x.summary != nil {
			continue
		}
		x.parts++
		of := x.patients[m.GetPatient().GetPatient()]
		if of == nil {
			of = map[string]*auditv1.ExposedResource{}
			x.patients[m.GetPatient().GetPatient()] = of
		}
		for _, r := range m.GetPatient().GetResources() {
			of[r.GetName()] = r
		}
	}
}

// opening is an entry of a session, to a resource of a patient, by a method of records.
func opening(session, patient uuid.UUID, method, resource string, mods ...func(*auditv1.Event)) *auditv1.Event {
	return event(append([]func(*auditv1.Event){func(e *auditv1.Event) {
		e.SessionId, e.PatientId, e.Resource, e.Method = session.String(), patient.String(), resource, "/carekeep.records.v1."+method
	}}, mods...)...)
}

const (
	getPatient  = "RecordsService/GetPatient"
	getNote     = "RecordsService/GetNote"
	getResource = "RecordsService/GetResource"
)

func TestDC24_TheBlastRadiusIsWhatWasOpenedAndNothingElse(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	chart1, chart2 := "patients/"+patient1.String(), "patients/"+patient2.String()
	withheld := func(e *auditv1.Event) { e.WithheldFields = []string{"Patient.telecoms", "Patient.identifiers"} }
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	when := func(after time.Duration) func(*auditv1.Event) {
		return func(e *auditv1.Event) { e.EventTime = timestamppb.New(at.Add(after)) }
	}
	p.await(p.send(
		opening(sessionX, patient1, getPatient, chart1, withheld, when(0)),                                                                       // 0
		opening(sessionX, patient1, getPatient, chart1, withheld, when(time.Minute)),                                                             // 1
		opening(sessionX, patient2, getResource, "Observation/9", when(3*time.Minute), func(e *auditv1.Event) { e.DeviceId = deviceX.String() }), // 2
		opening(sessionX, patient1, getNote, "notes/1", when(2*time.Minute)),                                                                     // 3, not together with the others of its patient
		opening(sessionX, patient3, getPatient, "patients/"+patient3.String(), func(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_DENIED }),
		opening(sessionX, patient3, getPatient, "keys/1", func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_KEY_UNWRAP }),
		opening(sessionX, patient3, "RecordsService/DeleteNote", "notes/3"),  // its answer shows nothing
		opening(sessionY, patient2, getPatient, chart2, when(4*time.Minute)), // 7
		opening(sessionX, patient3, getPatient, "patients/"+patient3.String(), practice(practiceB)),
		opening(sessionX, patient2, "Unheard/Of", "new/1", when(5*time.Minute)), // 9: a newer release's
		event(func(e *auditv1.Event) {
			e.Method, e.PatientId, e.SessionId = "jobs/Reseal", patient3.String(), sessionX.String()
		}),
	))
	x, err := d.radius(&auditv1.RadiusQuery{SessionId: sessionX.String()})
	require.NoError(t, err)
	require.Len(t, x.patients, 2)
	require.Len(t, x.patients[chart1], 2)
	shown := x.patients[chart1][chart1]
	require.EqualValues(t, 2, shown.GetAccesses())
	require.Contains(t, shown.GetFields(), "Patient.family_name")
	require.NotContains(t, shown.GetFields(), "Patient.telecoms")
	require.NotContains(t, shown.GetFields(), "Telecom.value", "nor what is below it")
	require.NotContains(t, shown.GetFields(), "Patient.identifiers")
	require.False(t, shown.GetWhole())
	require.Equal(t, at, shown.GetFirstTime().AsTime())
	require.Equal(t, at.Add(time.Minute), shown.GetLastTime().AsTime())
	require.EqualValues(t, 0, shown.GetEntries().GetFromSeq())
	require.EqualValues(t, 1, shown.GetEntries().GetToSeq())
	require.Contains(t, x.patients[chart1]["notes/1"].GetFields(), "Note.text")
	require.True(t, x.patients[chart2]["Observation/9"].GetWhole(), "raw FHIR shows the whole resource")
	require.True(t, x.patients[chart2]["new/1"].GetWhole(), "what is not known counts as the whole")
	require.EqualValues(t, 2, x.summary.GetPatients())
	require.EqualValues(t, 5, x.summary.GetAccesses())
	require.EqualValues(t, 0, x.summary.GetEntries().GetFromSeq())
	require.EqualValues(t, 9, x.summary.GetEntries().GetToSeq())
	require.Equal(t, at.Add(5*time.Minute), x.summary.GetLastTime().AsTime())

	x, err = d.radius(&auditv1.RadiusQuery{DeviceId: deviceX.String()})
	require.NoError(t, err)
	require.Len(t, x.patients, 1)
	x, err = d.radius(&auditv1.RadiusQuery{UserId: drSmith.String(), FromTime: timestamppb.New(at.Add(2 * time.Minute)), ToTime: timestamppb.New(at.Add(4 * time.Minute))})
	require.NoError(t, err)
	require.EqualValues(t, 2, x.summary.GetAccesses())
	x, err = d.radius(&auditv1.RadiusQuery{UserId: drSmith.String()})
	require.NoError(t, err)
	require.Subset(t, x.patients[chart2][chart2].GetFields(), []string{"Patient.telecoms", "Patient.identifiers"}, "nothing was withheld from the other session")
	x, err = d.radius(&auditv1.RadiusQuery{SessionId: uuid.NewString()})
	require.NoError(t, err)
	require.Zero(t, x.summary.GetPatients())
	require.Nil(t, x.summary.GetEntries())

	_, err = d.radius(&auditv1.RadiusQuery{Address: "192.0.2.7"})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "whoever may not see addresses")
	x, err = d.radius(&auditv1.RadiusQuery{Address: "192.0.2.0/24"}, accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ)
	require.NoError(t, err)
	require.Len(t, x.patients, 2)
	_, err = d.radius(&auditv1.RadiusQuery{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestDC24_TheRadiusOfAKeySaysWhatItCannotTell(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	key := uuid.New()
	unwrap := func(e *auditv1.Event) { e.Action = accessv1.Action_ACTION_KEY_UNWRAP }
	p.await(p.send(
		opening(sessionX, patient1, getPatient, "keys/"+key.String(), unwrap),
		opening(sessionX, patient1, getPatient, "patients/"+patient1.String()),
		opening(sessionX, patient2, getPatient, "keys/"+uuid.NewString(), unwrap)))
	x, err := d.radius(&auditv1.RadiusQuery{KeyId: key.String()})
	require.NoError(t, err)
	require.Len(t, x.patients, 1)
	require.EqualValues(t, 1, x.summary.GetAccesses())
	require.Contains(t, x.summary.GetUnknown()[0], "stays in the memory")
}

// A chart of very many resources comes in parts, and each of them is there.
func TestDC24_ALargeChartComesInParts(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	var events []*auditv1.Event
	for n := range 2500 {
		events = append(events, opening(sessionX, patient1, getNote, fmt.Sprintf("notes/%d", n)))
	}
	p.await(p.send(events...), p.send(opening(sessionX, patient2, getNote, "notes/x")))
	x, err := d.radius(&auditv1.RadiusQuery{SessionId: sessionX.String()})
	require.NoError(t, err)
	require.Len(t, x.patients["patients/"+patient1.String()], 2500)
	require.Equal(t, 4, x.parts)
	require.EqualValues(t, 2, x.summary.GetPatients())
}

// An entry that was changed is no evidence, and a radius without it would not be exact.
func TestDC24_AnAlteredEntryEndsTheRadius(t *testing.T) {
	t.Parallel()
	d := newRoom(t)
	p := d.producer("records")
	p.await(p.send(opening(sessionX, patient1, getPatient, "patients/1"), opening(sessionX, patient1, getPatient, "patients/2")))
	d.tamper("UPDATE entries SET event = event || '\\x08'::bytea WHERE seq = 1")
	_, err := d.radius(&auditv1.RadiusQuery{SessionId: sessionX.String()})
	require.Equal(t, "ENTRY_ALTERED", errs.ReasonOf(err))
	entries, _, err := store.New(d.replica.pool).List(t.Context(), practiceA, store.Filter{Action: int16(accessv1.Action_ACTION_SEARCH)}, 0, 10)
	require.NoError(t, err)
	require.NotEmpty(t, entries, "that somebody computed it is in the log before anything leaves")
}
