package intake

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/event"
)

func good() *auditv1.Event {
	return &auditv1.Event{
		EventId: uuid.Must(uuid.NewV7()).String(), EventTime: timestamppb.Now(), Service: accessv1.Service_SERVICE_RECORDS,
		Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW,
	}
}

func TestReadKnowsTheSenderByItsSubject(t *testing.T) {
	payload, err := proto.Marshal(&auditv1.Batch{Events: []*auditv1.Event{good()}})
	require.NoError(t, err)
	for subject, want := range map[string]struct {
		sender string
		events int
	}{
		"audit.events.records":   {"records", 1},
		"audit.events.auth":      {"auth", 0}, // forged: the event says records
		"audit.events.nobody":    {"", 0},
		"audit.events.records.x": {"", 0},
		"audit.events.":          {"", 0},
		"something.else":         {"", 0},
	} {
		s, sender := Read(subject, payload, time.Now())
		require.Equal(t, want.sender, sender, subject)
		require.Len(t, s.Events, want.events, subject)
		require.Len(t, s.Parked, 1-want.events, subject)
	}
}

// FuzzRead: whatever a message holds, each of its bytes is appended or the message is
// parked whole, and no problem repeats what was in it.
func FuzzRead(f *testing.F) {
	one, err := proto.Marshal(&auditv1.Batch{Events: []*auditv1.Event{good(), {}}})
	require.NoError(f, err)
	f.Add("audit.events.records", one)
	f.Add("audit.events.records", []byte("\x0a\xff\xff\xff\xff\x0f"))
	f.Add("audit.events.x", []byte{})
	f.Fuzz(func(t *testing.T, subject string, payload []byte) {
		now := time.Now()
		s, _ := Read(subject, payload, now)
		size := 0
		for _, e := range s.Events {
			size += len(e.Raw)
			require.True(t, bytes.Contains(payload, e.Raw))
			require.NotEqual(t, uuid.Nil, e.Index.EventID)
			require.False(t, event.Month(e.Index.EventID).After(now.AddDate(0, 1, 0)))
			require.NotEmpty(t, e.Reason)
		}
		if len(s.Parked) == 0 {
			require.NotEmpty(t, s.Events)
			require.Less(t, size, len(payload))
			return
		}
		require.Equal(t, payload, s.Parked[0].Payload)
		require.False(t, strings.ContainsAny(s.Parked[0].Problem.Error(), "\x00\r"))
	})
}
