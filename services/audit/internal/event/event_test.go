package event

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

var now = time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC)

// at is a UUIDv7 of a moment.
func at(t time.Time) string {
	id := uuid.Must(uuid.NewV7())
	ms := t.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.String()
}

func made(t time.Time) *auditv1.Event {
	return &auditv1.Event{
		EventId: at(t), EventTime: timestamppb.New(t), Service: accessv1.Service_SERVICE_RECORDS,
		Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW,
	}
}

var origin = Origin{Service: accessv1.Service_SERVICE_RECORDS, Now: now}

func TestIdsMustBeOfMonthsThatGetAPartition(t *testing.T) {
	for moment, want := range map[time.Time]bool{
		earliest: true, earliest.Add(-time.Millisecond): false,
		now.Add(ahead): true, now.Add(ahead + time.Millisecond): false,
	} {
		_, err := From(made(moment), origin)
		require.Equal(t, want, err == nil, "%s: %v", moment, err)
	}
}

func TestMonthsAreThoseOfTheIdInUTC(t *testing.T) {
	e, err := From(made(time.Date(2026, 10, 31, 23, 59, 59, 999e6, time.UTC)), origin)
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Month(e.Index.EventID))
}

func TestOddClocksAreNoticed(t *testing.T) {
	for difference, want := range map[time.Duration]bool{
		0: false, -skew: false, -skew - time.Second: true, skew + time.Second: true,
	} {
		e := made(now)
		e.EventTime = timestamppb.New(now.Add(difference))
		got, err := From(e, origin)
		require.NoError(t, err, "a wrong clock is no reason to lose evidence")
		require.Equal(t, want, got.Skewed(now), "%s", difference)
	}
}

// A newer release may add fields to the batch, and values to the list of actions.
func TestWhatANewerReleaseAddsIsNoReasonToRefuse(t *testing.T) {
	e := made(now)
	e.Action = 77
	raw, err := proto.Marshal(&auditv1.Batch{Events: []*auditv1.Event{e, made(now)}})
	require.NoError(t, err)
	newer := protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1)
	events, err := Decode(append(newer, raw...), origin)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.EqualValues(t, 77, events[0].Index.Action)
}

func TestFreeTextIsNoReason(t *testing.T) {
	for text, want := range map[string]string{"SEAL_BROKEN": "SEAL_BROKEN", "": Unnamed, "patient John": Unnamed, "A\x00": Unnamed, "a": Unnamed} {
		require.Equal(t, want, reason(text))
	}
}

func TestRefusalsRepeatNothing(t *testing.T) {
	e := made(now)
	e.PatientId = "John Doe"
	_, err := From(e, origin)
	require.ErrorIs(t, err, ErrRefused)
	require.NotContains(t, err.Error(), "John")
}
