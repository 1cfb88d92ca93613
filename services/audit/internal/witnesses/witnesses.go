// Package witnesses has others cosign the log's checkpoints (C2SP tlog-witness and tlog-cosignature), so that
// whoever trusts them knows that everybody is shown one log. It runs beside the appender, on the replica that
// writes; nobody who appends or reads waits for a witness. What a witness sees is a checkpoint and hashes.
package witnesses

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// Every is how often the newest checkpoint goes to the witnesses, if the log has grown.
	Every = 5 * time.Second
	// maxWait is the longest that a witness which does not answer is left alone.
	maxWait = 10 * time.Minute
	// askTime bounds one request. All that sign a checkpoint do so in one round, so the slowest bounds it.
	askTime = 10 * time.Second
)

// ErrContradicted says that a witness signed another history of this log. Either the database was rolled
// back or rewritten, or somebody else signs with the log's key.
var ErrContradicted = errors.New("a witness has signed another history of this log")

// Witness is one of them, as it is configured.
type Witness struct {
	URL string // the submission prefix
	Key string // name+hash+key, of type 4
}

// Store is what is read and written.
type Store interface {
	Checkpoint(ctx context.Context, atLeast int64) (string, error)
	Tiles(ctx context.Context) tlog.TileReader
	// Cosigned is the size of the newest checkpoint that a witness signed, 0 for none.
	Cosigned(ctx context.Context, witness string) (int64, error)
	AddCosignatures(ctx context.Context, list []store.Cosignature) error
}

// Options are what a Circle works with; all are required.
type Options struct {
	Witnesses []Witness
	Store     Store
	Log       *slog.Logger
	Now       func() time.Time
}

// Circle is the log's witnesses.
type Circle struct {
	opts    Options
	members []*member

	mu     sync.Mutex
	faults map[string]error // contradictions, by witness; each stays until that witness signs again
}

// member is one witness and what is known of it. Only the round's goroutine for it touches it.
type member struct {
	url, id  string
	verifier note.Verifier
	client   *http.Client
	known    bool  // whether size is more than a guess
	size     int64 // of the newest checkpoint that it signed
	failures int
	next     time.Time // not asked before
	lag      lag
}

// New reads the keys and makes the metrics.
func New(o Options) (*Circle, error) {
	c := &Circle{opts: o, faults: map[string]error{}}
	// A redirect is refused: where checkpoints go is the operator's choice.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, w := range o.Witnesses {
		v, err := ledger.ParseWitness(w.Key)
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", w.URL, err)
		}
		c.members = append(c.members, &member{url: w.URL, id: fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()), verifier: v, client: client})
	}
	return c, c.observe()
}

// Ready reports a contradiction. A witness that does not answer is in the metrics and the log: nobody's care
// is to wait for somebody else's server.
func (c *Circle) Ready(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(slices.Collect(maps.Values(c.faults))...)
}

// Run asks until ctx ends. One replica does so, the writer.
func (c *Circle) Run(ctx context.Context) {
	if len(c.members) == 0 {
		return
	}
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.Round(ctx); err != nil && ctx.Err() == nil {
			c.opts.Log.WarnContext(ctx, "witnesses could not be asked", telemetry.KeyError, err.Error())
		}
	}
}

// Round sends the newest checkpoint to every witness that has not signed it and is not left alone after
// failures, and stores what they sign, all at once: a checkpoint's cosignatures never become more later.
func (c *Circle) Round(ctx context.Context) error {
	signed, err := c.opts.Store.Checkpoint(ctx, 0)
	if err != nil || signed == "" {
		return err
	}
	head, err := parse(signed)
	if err != nil {
		return err
	}
	now := c.opts.Now()
	var mu sync.Mutex
	var got []store.Cosignature
	var asked sync.WaitGroup
	for _, m := range c.members {
		m.lag.see(head.Time, m.known && m.size == head.Size)
		if m.known && m.size >= head.Size || now.Before(m.next) {
			continue
		}
		asked.Go(func() {
			cosignature, err := c.ask(ctx, m, head, signed)
			mu.Lock()
			defer mu.Unlock()
			if c.settle(ctx, m, err) {
				got = append(got, cosignature)
			}
		})
	}
	asked.Wait()
	if len(got) == 0 {
		return nil
	}
	err = c.opts.Store.AddCosignatures(ctx, got)
	for _, m := range c.members {
		m.known = m.known && err == nil // else it is asked again for the signature that was not stored
		m.lag.see(head.Time, m.known && m.size == head.Size)
	}
	return err
}

// settle notes how asking a witness went: it is left alone for longer after each failure.
func (c *Circle) settle(ctx context.Context, m *member, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if m.failures > 0 {
			c.opts.Log.InfoContext(ctx, "a witness signs again", telemetry.KeyPeer, m.id)
		}
		m.failures, m.next = 0, time.Time{}
		delete(c.faults, m.id)
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, ErrContradicted) {
		c.faults[m.id] = fmt.Errorf("witness %s: %w", m.id, err)
		c.opts.Log.ErrorContext(ctx, "a witness contradicts the audit log; compare the database with the checkpoint copies", telemetry.KeyPeer, m.id, telemetry.KeyError, err.Error())
	} else if m.failures == 0 {
		c.opts.Log.WarnContext(ctx, "a witness does not sign", telemetry.KeyPeer, m.id, telemetry.KeyError, err.Error())
	}
	wait := maxWait
	if m.failures < 7 {
		wait = min(maxWait, Every<<m.failures)
	}
	m.failures, m.next = m.failures+1, c.opts.Now().Add(wait)
	return false
}
