package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// A heartbeat that took longer than this to make is not sent: the audit store trusts the
	// age in it to be of now.
	beatTimeout = 5 * time.Second
	oldestSQL   = "select coalesce(extract(epoch from now() - min(created)), 0)::float8 from outbox"
)

// beatUntil sends heartbeats until ctx ends, and then says goodbye. One that is lost is made
// good by the next: each tells all that the process remembers.
func (r *Relay) beatUntil(ctx context.Context, conn *nats.Conn) {
	tick := time.NewTicker(time.Duration(r.broker.HeartbeatSeconds) * time.Second)
	defer tick.Stop()
	for {
		if conn.IsConnected() {
			if err := r.beat(ctx, conn, false); err != nil && ctx.Err() == nil {
				r.log.Warn("a heartbeat was not sent", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			if !conn.IsConnected() {
				return
			}
			if err := r.beat(context.WithoutCancel(ctx), conn, true); err != nil {
				r.log.Warn("the audit store was not told that this process stops", "error", err)
			}
			return
		case <-tick.C:
		}
	}
}

func (r *Relay) beat(ctx context.Context, conn *nats.Conn, goodbye bool) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	var seconds float64
	unknown := r.pool.QueryRow(ctx, oldestSQL).Scan(&seconds)
	// After the query, so that what it saw is not younger than what the counter knows.
	beat := r.counter.Heartbeat()
	if unknown == nil {
		beat.OldestRowAge = durationpb.New(time.Duration(seconds * float64(time.Second)))
	}
	if r.calls != nil {
		beat.Calls = r.calls(!goodbye)
	}
	beat.Goodbye = goodbye
	payload, err := proto.Marshal(beat)
	if err == nil && ctx.Err() == nil {
		err = conn.Publish(HeartbeatSubject(r.service), payload)
	}
	if err == nil && goodbye {
		err = conn.FlushWithContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return ctx.Err()
}
