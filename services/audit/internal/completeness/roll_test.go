package completeness

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/outbox/ranges"
	"github.com/carekeep/carekeep/services/audit/internal/event"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const records = int16(accessv1.Service_SERVICE_RECORDS)

// row is a row of an outbox, committed or not yet.
type row struct {
	payload []byte
	created time.Time
	ended   func(bool)
	by      *outbox.Counter
	arrived bool
}

// world is a service with processes that share an outbox, a broker that loses and repeats, and an
// audit store. Only the audit store's side is the code under test; the numbers are the service's own.
type world struct {
	t         require.TestingT
	now       time.Time
	processes []*outbox.Counter
	open      []*row // transactions under way
	table     []*row
	sent      []*row // in the broker, each perhaps more than once
	receipts  []*row
	broker    bool // whether it is there

	watch     *Watch
	epochs    map[process]*store.Epoch
	listening time.Time
	found     []store.Finding
}

func newWorld(t require.TestingT) *world {
	w := &world{t: t, now: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC), broker: true, epochs: map[process]*store.Epoch{}}
	w.processes = []*outbox.Counter{outbox.NewCounter(), outbox.NewCounter()}
	w.restartAudit()
	return w
}

// restartAudit forgets what is in memory, as a crash and a failover do.
func (w *world) restartAudit() {
	w.watch = &Watch{Options: Options{Now: func() time.Time { return w.now }}, beats: map[process]beat{}}
	w.listening = w.now
}

func (w *world) begin(by *outbox.Counter) {
	b := &pgx.Batch{}
	ended := by.Append(b, []*auditv1.Event{{EventId: "x"}})
	w.open = append(w.open, &row{payload: b.QueuedQueries[0].Arguments[1].([]byte), created: w.now, ended: ended, by: by})
}

// end ends a transaction; known says whether the process learns how.
func (w *world) end(i int, kept, known bool) {
	r := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	if kept {
		w.table = append(w.table, r)
	}
	if known {
		r.ended(kept)
	}
}

// crash replaces a process; what it had under way is rolled back.
func (w *world) crash(i int) {
	old := w.processes[i]
	w.open = slices.DeleteFunc(w.open, func(r *row) bool { return r.by == old })
	w.processes[i] = outbox.NewCounter()
}

func (w *world) deliver(i int, again bool) {
	r := w.sent[i]
	if !again {
		w.sent = slices.Delete(w.sent, i, i+1)
	}
	w.arrive(r.payload)
	r.arrived = true
	w.receipts = append(w.receipts, r)
}

// arrive is what the appender notes of a message.
func (w *world) arrive(payload []byte) {
	rows, err := event.Rows(payload)
	require.NoError(w.t, err)
	for _, x := range rows {
		(&roll{epochs: w.epochs}).arrive(store.Arrival{
			Service: records, Epoch: x.Epoch, Numbers: ranges.Of(x.Number, x.Number), Claimed: x.Claimed, Events: x.Events,
		})
	}
}

func (w *world) receipt(i int) {
	r := w.receipts[i]
	w.receipts = slices.Delete(w.receipts, i, i+1)
	w.table = slices.DeleteFunc(w.table, func(x *row) bool { return x == r })
}

func (w *world) beat(p *outbox.Counter, goodbye bool) {
	message := p.Heartbeat()
	message.Goodbye = goodbye
	var oldest time.Duration
	for _, r := range w.table {
		oldest = max(oldest, w.now.Sub(r.created))
	}
	message.OldestRowAge = durationpb.New(oldest)
	payload, err := proto.Marshal(message)
	require.NoError(w.t, err)
	require.NoError(w.t, w.watch.hear(outbox.HeartbeatSubject("records"), payload))
}

func (w *world) sweep() {
	r := &roll{epochs: w.epochs, beats: map[process]beat{}}
	for p, b := range w.watch.beats {
		r.beats[p] = b
	}
	w.found = append(w.found, r.judge(w.now, w.listening)...)
}

// step does one thing that can happen.
func (w *world) step(t *rapid.T) {
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "which") }
	switch what := rapid.IntRange(0, 13).Draw(t, "what"); {
	case what <= 1:
		w.begin(w.processes[pick(len(w.processes))])
	case what <= 3 && len(w.open) > 0:
		w.end(pick(len(w.open)), rapid.Bool().Draw(t, "kept"), rapid.IntRange(0, 3).Draw(t, "known") > 0)
	case what == 4 && w.broker && len(w.table) > 0:
		w.sent = append(w.sent, w.table[pick(len(w.table))])
	case what == 5 && w.broker && len(w.sent) > 0:
		w.deliver(pick(len(w.sent)), rapid.Bool().Draw(t, "again"))
	case what == 6 && w.broker && len(w.sent) > 0: // the broker loses what it took
		w.sent = slices.Delete(w.sent, 0, 1)
	case what == 7 && w.broker && len(w.receipts) > 0:
		w.receipt(pick(len(w.receipts)))
	case what == 8 && w.broker:
		w.beat(w.processes[pick(len(w.processes))], false)
	case what == 9:
		w.sweep()
	case what == 10:
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	case what == 11 && rapid.IntRange(0, 4).Draw(t, "rare") == 0:
		w.crash(pick(len(w.processes)))
	case what == 12 && rapid.IntRange(0, 4).Draw(t, "rare") == 0:
		w.restartAudit()
	case what == 13:
		w.broker = !w.broker
	}
}

// settle lets everything that can come come, and waits long enough for every judgement.
func (w *world) settle() {
	w.broker = true
	for len(w.open) > 0 {
		w.end(0, true, true)
	}
	for range 60 {
		w.sent = append(w.sent, w.table...)
		for len(w.sent) > 0 {
			w.deliver(0, false)
		}
		for len(w.receipts) > 0 {
			w.receipt(0)
		}
		for _, p := range w.processes {
			w.beat(p, false)
		}
		w.sweep()
		w.now = w.now.Add(5 * time.Second)
	}
}

func (w *world) reasons(reason string) (out []store.Finding) {
	for _, f := range w.found {
		if f.Reason == reason {
			out = append(out, f)
		}
	}
	return out
}

func TestDTD08_NoInterleavingMakesAGapOrADenial(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			w.step(t)
		}
		w.settle()
		require.Empty(t, w.reasons(ReasonGap))
		require.Empty(t, w.reasons(ReasonDenied))
	})
}

func TestDTD08_EveryRowThatIsDeletedByHandIsAGap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			w.step(t)
		}
		w.broker = false
		w.begin(w.processes[0])
		w.end(len(w.open)-1, true, true)
		victim := w.table[len(w.table)-1]
		w.table = w.table[:len(w.table)-1]
		for range rapid.IntRange(0, 50).Draw(t, "more steps") {
			w.step(t)
		}
		alive := w.processes[0] == victim.by
		if !alive { // it crashed before it said anything: only a later row of its own could tell
			t.Skip("nobody knows of the row")
		}
		w.settle()
		gaps := w.reasons(ReasonGap)
		require.Len(t, gaps, 1, "once, and nothing else")
		rows, err := event.Rows(victim.payload)
		require.NoError(t, err)
		require.Equal(t, rows[0].Epoch, gaps[0].Epoch)
		require.Equal(t, ranges.Of(rows[0].Number, rows[0].Number), gaps[0].Numbers)
		require.Empty(t, w.reasons(ReasonDenied))
	})
}

// A process that dies takes what it knew with it, but the rows it left behind claim those before.
func TestDTD08_ALaterRowTellsOfOneThatWasDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.begin(w.processes[0])
		w.end(0, true, true)
	}
	w.table = slices.Delete(w.table, 1, 2)
	w.crash(0)
	w.settle()
	gaps := w.reasons(ReasonGap)
	require.Len(t, gaps, 1)
	require.Equal(t, ranges.Of(2, 2), gaps[0].Numbers)
}

func TestDTD08_RowsThatNobodyCommittedAreDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.processes[0])
	rolledBack := w.open[0].payload
	w.end(0, false, true)
	w.begin(w.processes[0])
	w.end(0, false, false) // nobody knows how it ended: no reason to deny it
	w.settle()
	epoch := w.processes[0].Heartbeat().GetEpoch()
	forged, err := proto.Marshal(&auditv1.Batch{Rows: []*auditv1.Row{{Epoch: epoch, Number: 77, Events: 1}, {Epoch: epoch, Number: 2, Events: 1}}})
	require.NoError(t, err)
	w.arrive(rolledBack)
	w.arrive(forged)
	w.settle()
	denied := w.reasons(ReasonDenied)
	require.Len(t, denied, 1)
	require.Equal(t, ranges.Set{{First: 1, Last: 1}, {First: 77, Last: 77}}, denied[0].Numbers)
	require.Empty(t, w.reasons(ReasonGap))
}

func TestDTD08_RowsThatWaitAreLateAndNoGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.processes[0])
	w.end(0, true, true)
	for range 40 { // its messages are lost again and again
		for _, p := range w.processes {
			w.beat(p, false)
		}
		w.sweep()
		w.now = w.now.Add(5 * time.Second)
	}
	require.Len(t, w.reasons(ReasonLate), 1, "once for both processes")
	require.Empty(t, w.reasons(ReasonGap))
	w.settle()
	require.Len(t, w.found, 1)
	w.begin(w.processes[0])
	w.end(0, true, true)
	w.now = w.now.Add(2 * patience)
	w.beat(w.processes[0], false)
	w.sweep()
	require.Len(t, w.reasons(ReasonLate), 2, "it was over, and began again")
}

func TestDTD07_AServiceThatFallsSilentIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stays, leaves := w.processes[0], w.processes[1]
	w.beat(stays, false)
	w.beat(leaves, false)
	w.sweep()
	w.beat(leaves, true)
	w.now = w.now.Add(59 * time.Second)
	w.sweep()
	require.Empty(t, w.found)

	w.restartAudit() // who was not there has missed heartbeats, and waits again
	w.now = w.now.Add(59 * time.Second)
	w.sweep()
	require.Empty(t, w.found)
	w.listening = time.Time{} // the broker is away
	w.now = w.now.Add(time.Hour)
	w.sweep()
	require.Empty(t, w.found)

	w.listening = w.now
	w.now = w.now.Add(61 * time.Second)
	w.sweep()
	w.sweep()
	require.Len(t, w.found, 1)
	require.Equal(t, ReasonSilent, w.found[0].Reason)
	require.Equal(t, uuid.UUID(stays.Heartbeat().GetEpoch()), w.found[0].Epoch)
	w.beat(stays, false)
	w.now = w.now.Add(61 * time.Second)
	w.sweep()
	require.Len(t, w.reasons(ReasonSilent), 2, "it came back, and fell silent again")
}

func TestHeartbeatsThatSayNothingSensibleChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, beat := range []*auditv1.Heartbeat{
		{}, {Epoch: []byte("short")}, {Epoch: make([]byte, 16), Committed: []*auditv1.NumberRange{{First: 3, Last: 1}}},
		{Epoch: make([]byte, 16), Unsettled: []*auditv1.NumberRange{{First: -1, Last: 1}}},
	} {
		payload, err := proto.Marshal(beat)
		require.NoError(t, err)
		require.Error(t, w.watch.hear(outbox.HeartbeatSubject("records"), payload))
	}
	require.Error(t, w.watch.hear(outbox.HeartbeatSubject("records"), []byte("\xff")))
	require.NoError(t, w.watch.hear(outbox.HeartbeatSubject("nobody"), nil))
	require.Empty(t, w.watch.beats)
}
