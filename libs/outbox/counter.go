package outbox

import (
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

const (
	// claims is how many ranges a row repeats, and mostRanges how many are remembered. A
	// transaction that fails between its events and its commit starts a new range; that is rare.
	claims     = 8
	mostRanges = 256
)

// Counter numbers the outbox rows of one process, so that the audit store can tell that one is
// missing. Numbers live in memory: a counter in the database would make every commit wait for
// the one before. A process has one counter for each outbox.
type Counter struct {
	epoch uuid.UUID

	mu        sync.Mutex
	last      int64      // the newest number
	floor     int64      // what is below was forgotten
	committed ranges.Set // for sure
	unsettled ranges.Set // under way, or nobody knows
}

// NewCounter begins an epoch.
func NewCounter() *Counter { return &Counter{epoch: uuid.New(), floor: 1} }

// Append queues the rows that hold the events: one, unless they are very many. It is what
// pg.Options.Append wants; ended is to be called once it is known whether the rows were
// kept, and never where nobody knows.
func (c *Counter) Append(b *pgx.Batch, events []*auditv1.Event) (ended func(kept bool)) {
	var numbers []int64
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size < maxPayload) {
			size += proto.Size(events[n])
			n++
		}
		row := c.row(n)
		numbers = append(numbers, row.GetNumber())
		payload, err := proto.Marshal(&auditv1.Batch{Events: events[:n], Rows: []*auditv1.Row{row}})
		if err != nil {
			// Only text that is not UTF-8 gets here. The statement fails, and the
			// unit with it: no access without its evidence.
			b.Queue("select 1/0 as event_is_not_utf8")
			break
		}
		b.Queue(insertSQL, uuid.Must(uuid.NewV7()), payload)
		events = events[n:]
	}
	return func(kept bool) { c.settle(numbers, kept) }
}

// row takes the next number.
func (c *Counter) row(events int) *auditv1.Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.unsettled.Add(c.last, c.last)
	c.forget()
	return &auditv1.Row{
		Epoch: c.epoch[:], Number: c.last, Events: int32(events), Committed: c.committed.Newest(claims).Proto(),
	}
}

func (c *Counter) settle(numbers []int64, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range numbers {
		c.unsettled = c.unsettled.Minus(ranges.Of(n, n))
		if kept {
			c.committed.Add(n, n)
		}
	}
	c.forget()
}

// forget bounds the memory; the heartbeat says from which number on it is complete.
func (c *Counter) forget() {
	for _, set := range []*ranges.Set{&c.committed, &c.unsettled} {
		if kept := set.Newest(mostRanges); len(kept) < len(*set) {
			c.floor = max(c.floor, kept[0].First)
			*set = append(ranges.Set(nil), kept...)
		}
	}
}

// Heartbeat is what the process knows of its rows now.
func (c *Counter) Heartbeat() *auditv1.Heartbeat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &auditv1.Heartbeat{
		Epoch: c.epoch[:], FirstNumber: c.floor,
		Committed: c.committed.From(c.floor).Proto(), Unsettled: c.unsettled.From(c.floor).Proto(),
	}
}
