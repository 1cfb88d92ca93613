package engine

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
)

// BenchmarkEngine measures one goroutine with the embedded pack over the bytes of events as
// the log holds them: 2,000 users of 100 practices, each request with its admission,
// 20,000 patients, one sign-in in 50 requests and every fourth of those refused, 2,000 events a second of log time.
func BenchmarkEngine(b *testing.B) {
	pack, err := rules.Default()
	require.NoError(b, err)
	e, err := New(Options{Pack: pack, Keys: 50_000, Zones: func(string) *time.Location { return time.UTC }})
	require.NoError(b, err)
	raw := stream(b, 200_000)
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	found := 0
	b.ReportAllocs()
	begin := busy(b)
	for seq := int64(0); b.Loop(); seq++ {
		var event auditv1.Event
		if err := proto.Unmarshal(raw[seq%int64(len(raw))], &event); err != nil {
			b.Fatal(err)
		}
		at = at.Add(500 * time.Microsecond)
		event.EventTime = timestamppb.New(at)
		found += len(e.Take(Entry{Seq: seq, AppendTime: at, Event: &event}))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/(busy(b)-begin).Seconds(), "events/cpu-s")
	b.ReportMetric(float64(found), "found")
	b.ReportMetric(float64(e.Stats().Keys), "keys")
	require.Zero(b, e.Stats().Failed)
}

// busy is the processor time of this process: what counts on a machine that others use as well.
func busy(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func stream(b *testing.B, n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	ids := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = uuid.NewString()
		}
		return list
	}
	practices, users, sessions, patients := ids(100), ids(2000), ids(2000), ids(20_000)
	out := make([][]byte, n)
	for i := range out {
		u := random.IntN(len(users))
		e := &auditv1.Event{
			EventId: uuid.NewString(), PracticeId: practices[u%100], UserId: users[u], Username: fmt.Sprintf("user.%d", u), SessionId: sessions[u],
			Service: accessv1.Service_SERVICE_RECORDS, Method: "/carekeep.records.v1.RecordsService/GetPatient", Caller: accessv1.Service_SERVICE_GATEWAY,
			Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW,
			PatientId: patients[(u%100)*200+random.IntN(200)], Resource: "Observation/" + uuid.NewString(), Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
			Address: fmt.Sprintf("10.%d.%d.%d", u%100, u/256, u%256), Count: 1,
			Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
		}
		switch r := random.IntN(100); {
		case r < 48:
			e.Service, e.Method, e.Action = accessv1.Service_SERVICE_AUTH, "Admit", accessv1.Action_ACTION_ADMIT
			e.PatientId, e.Resource = "", ""
		case r < 49:
			e.Service, e.Method, e.Action = accessv1.Service_SERVICE_AUTH, "SignIn", accessv1.Action_ACTION_SIGN_IN
			e.PatientId, e.Resource = "", ""
			if random.IntN(4) == 0 {
				e.Outcome, e.Reason = auditv1.Outcome_OUTCOME_DENIED, "WRONG_PASSWORD"
			}
		case r < 60:
			e.Action = accessv1.Action_ACTION_LIST
		case r < 64:
			e.Action = accessv1.Action_ACTION_UPDATE
		}
		var err error
		out[i], err = proto.Marshal(e)
		require.NoError(b, err)
	}
	return out
}
