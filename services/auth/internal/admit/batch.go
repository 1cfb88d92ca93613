package admit

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
)

const (
	maxBatch     = 64
	batchTimeout = 5 * time.Second
)

// item is one request on its way through a batch. The worker owns it until it answers on done.
type item struct {
	ctx     context.Context
	request Request
	hash    []byte
	device  uuid.UUID // that the client showed; the session's, or the database refuses it
	done    chan error

	caller caller.Caller
	event  *auditv1.Event
	err    error
}

// batches combines requests that wait at the same moment. There are no timers:
// an idle worker takes whatever is there, so a lone request does not wait.
type batches struct {
	run    func(context.Context, []*item) error
	queue  chan *item
	closed chan struct{}
	end    sync.Once
	work   sync.WaitGroup
}

func newBatches(workers int, run func(context.Context, []*item) error) *batches {
	b := &batches{run: run, queue: make(chan *item), closed: make(chan struct{})}
	for range workers {
		b.work.Go(b.worker)
	}
	return b
}

func (b *batches) close() {
	b.end.Do(func() { close(b.closed) })
	b.work.Wait()
}

// do returns when the batch with the item is committed or has failed. Once taken,
// an item is waited for: its answer counts against the user's limit.
func (b *batches) do(ctx context.Context, it *item) error {
	it.done = make(chan error, 1)
	select {
	case b.queue <- it:
		return <-it.done
	case <-ctx.Done():
		return ctx.Err()
	case <-b.closed:
		return errs.New(errs.KindUnavailable, "SHUTTING_DOWN", "the service is shutting down; try again")
	}
}

func (b *batches) worker() {
	items := make([]*item, 0, maxBatch)
	for {
		select {
		case <-b.closed:
			return
		case first := <-b.queue:
			items = b.gather(append(items[:0], first))
		}
		err := b.guarded(items)
		for _, it := range items {
			it.done <- err
		}
		clear(items)
	}
}

// gather yields once, so that callers that were just woken reach the queue.
func (b *batches) gather(items []*item) []*item {
	runtime.Gosched()
	for len(items) < maxBatch {
		select {
		case it := <-b.queue:
			items = append(items, it)
		default:
			return items
		}
	}
	return items
}

// guarded gives the batch a deadline of its own, in the trace of its first
// request, and turns a panic into everybody's error instead of the process's end.
func (b *batches) guarded(items []*item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("admit: panic in a batch: %T", p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(items[0].ctx), batchTimeout)
	// The first request's recorder must not be told that the others' events are its own.
	ctx = evidence.With(ctx, evidence.NewJob(accessv1.Service_SERVICE_AUTH, "Admit", accessv1.Action_ACTION_ADMIT))
	defer cancel()
	return b.run(ctx, items)
}
