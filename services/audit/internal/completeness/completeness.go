// Package completeness finds out that something is missing from the log: an outbox row that
// was committed and never came, rows that wait too long, a process that fell silent, and rows
// that no process made. It goes by what rows and heartbeats claim and what arrived; it does
// not read events, and takes nothing into the log but its findings.
package completeness

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/outbox/ranges"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Reasons of what is found. Each is the reason of an entry of critical risk, and so of an alert.
const (
	// ReasonGap: a row was committed, is no longer in the outbox, and never came.
	ReasonGap = "OUTBOX_GAP"
	// ReasonLate: a row waits for its receipt for longer than patience.
	ReasonLate = "OUTBOX_LATE"
	// ReasonSilent: a process sends no heartbeats and did not say goodbye.
	ReasonSilent = "SERVICE_SILENT"
	// ReasonDenied: a row came that the process it names did not commit.
	ReasonDenied = "ENTRY_DENIED"
)

const (
	// patience is how long something may be missing, late or silent.
	patience = 60 * time.Second
	// slack is how old a heartbeat may be when it comes: relays give up on one after 5 s.
	slack      = 15 * time.Second
	sweepEvery = 5 * time.Second
	// rememberFor is how long the last heartbeat of a process is kept in memory, and its account in the sweep.
	rememberFor = time.Hour
)

// Options are what a watch works with. All are required.
type Options struct {
	Store   *store.Store
	Sink    evidence.Sink
	Conn    *nats.Conn
	Leading func() bool // whether this replica writes the log
	Log     *slog.Logger
	Now     func() time.Time
	// Calls counts those of this service, which has no outbox and sends itself no heartbeats. It
	// is called once Run runs.
	Calls func(whole bool) []*auditv1.MinuteCalls
}

// Watch listens on every replica, and sweeps on the one that writes the log.
type Watch struct {
	Options

	mu         sync.Mutex
	beats      map[process]beat
	listening  time.Time // since when no heartbeat can have been missed; zero while there is no connection
	reconnects uint64

	kept map[process]int64 // the last minute whose calls are kept; only Run uses it
	own  process           // this one
}

// process is one process of a service.
type process struct {
	service int16
	epoch   uuid.UUID
}

// beat is a heartbeat as it came.
type beat struct {
	at        time.Time
	first     int64 // the lowest number that it speaks of
	committed ranges.Set
	unsettled ranges.Set
	age       time.Duration // of the oldest row without a receipt
	aged      bool          // whether the age is known
	goodbye   bool
	served    []store.Served
}

// New returns a watch that listens from now on. Run makes it sweep.
func New(opts Options) (*Watch, error) {
	w := &Watch{Options: opts, beats: map[process]beat{}, kept: map[process]int64{}, own: process{int16(accessv1.Service_SERVICE_AUDIT), uuid.New()}}
	_, err := opts.Conn.Subscribe(outbox.HeartbeatSubject("*"), func(msg *nats.Msg) {
		if err := w.hear(msg.Subject, msg.Data); err != nil {
			w.Log.Warn("a heartbeat cannot be read", telemetry.KeyPeer, outbox.HeartbeatOf(msg.Subject), telemetry.KeyError, err.Error())
		}
	})
	return w, err
}

// hear takes a heartbeat. The broker lets each service publish its own only.
func (w *Watch) hear(subject string, payload []byte) error {
	service, ok := access.ServiceFromName(outbox.HeartbeatOf(subject))
	if !ok {
		return nil
	}
	var message auditv1.Heartbeat
	if err := proto.Unmarshal(payload, &message); err != nil {
		return err
	}
	epoch, err := uuid.FromBytes(message.GetEpoch())
	if err != nil {
		return err
	}
	p := process{int16(service), epoch}
	// As exact as the database keeps it, so that one heartbeat is not taken for two.
	b := beat{at: w.Now().UTC().Truncate(time.Microsecond), first: message.GetFirstNumber(), goodbye: message.GetGoodbye(), served: served(p, message.GetCalls())}
	if b.committed, err = ranges.FromProto(message.GetCommitted()); err != nil {
		return err
	}
	if b.unsettled, err = ranges.FromProto(message.GetUnsettled()); err != nil {
		return err
	}
	if message.GetOldestRowAge() != nil {
		b.age, b.aged = message.GetOldestRowAge().AsDuration(), true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for other, old := range w.beats {
		if b.at.Sub(old.at) > rememberFor {
			delete(w.beats, other)
		}
	}
	w.beats[p] = b
	return nil
}

func served(p process, calls []*auditv1.MinuteCalls) []store.Served {
	var out []store.Served
	for _, minute := range calls {
		for _, m := range minute.GetMethods() {
			if m.GetCalls() > 0 {
				out = append(out, store.Served{Service: p.service, Epoch: p.epoch, Minute: minute.GetMinute(), Method: m.GetMethod(), Calls: m.GetCalls()})
			}
		}
	}
	return out
}

// heard returns the newest heartbeat of each process, and since when none can have been missed.
func (w *Watch) heard(now time.Time) (map[process]beat, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	reconnects := w.Conn.Stats().Reconnects
	switch {
	case !w.Conn.IsConnected():
		w.listening = time.Time{}
	case w.listening.IsZero() || reconnects != w.reconnects:
		w.listening = now
	}
	w.reconnects = reconnects
	out := make(map[process]beat, len(w.beats))
	for p, b := range w.beats {
		out[p] = b
	}
	return out, w.listening
}

// Run sweeps until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepEvery)
			defer cancel()
			w.countOwn(end, false)
			return
		case <-tick.C:
		}
		w.countOwn(ctx, true)
		if !w.Leading() {
			// Who takes over has to have listened; a standby does.
			w.heard(w.Now().UTC())
			continue
		}
		if err := w.Sweep(ctx); err != nil && ctx.Err() == nil {
			w.Log.WarnContext(ctx, "outboxes were not accounted for; trying again", telemetry.KeyError, err.Error())
		}
	}
}
