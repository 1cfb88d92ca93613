package intake

import (
	"context"
	"errors"
	"io"

	"github.com/carekeep/carekeep/services/records/internal/bundle"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// batch is a number of entries that are committed together.
type batch struct {
	items    []item
	bytes    int
	seen     map[store.Ref]bool
	problems []Problem
	plan     plan
}

func newBatch() *batch { return &batch{seen: map[store.Ref]bool{}} }

func (b *batch) refuse(index int64, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{reasonConflict, "The entry could not be stored: send it again."}
	}
	b.problems = append(b.problems, Problem{index, r.reason, r.message})
}

// reader is the first stage: it makes batches of entries.
type reader struct {
	run      *run
	resolver *resolver
	batch    *batch
	early    []bundle.Entry
	waiting  int // bytes in early
	send     func(*batch) error
}

// read makes batches of the entries in a bundle, in their order. Entries whose
// Patient has not come yet wait, as many as the limit allows.
func (r *run) read(ctx context.Context, in io.Reader, out chan<- *batch) error {
	rd := &reader{
		run: r, batch: newBatch(),
		resolver: newResolver(r.practice.Index.Digest, r.options.Patient, r.limits.Patients),
		send: func(b *batch) error {
			select {
			case out <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
	entries := bundle.NewReader(in, r.limits.EntryBytes)
	var ended error
	for {
		e, err := entries.Next()
		if err != nil {
			ended = err
			break
		}
		if err := rd.take(e); err != nil {
			return err
		}
	}
	var malformed *bundle.Malformed
	if !errors.Is(ended, io.EOF) && !errors.As(ended, &malformed) {
		return ended // the stream broke: its end is not the bundle's
	}
	if err := rd.retry(); err != nil {
		return err
	}
	if err := rd.flush(); err != nil {
		return err
	}
	if malformed != nil {
		return malformed
	}
	return nil
}

func (rd *reader) take(e bundle.Entry) error {
	if e.Problem != nil {
		return rd.refuse(e.Index, &refusal{e.Problem.Reason, e.Problem.Message})
	}
	it, err := rd.resolver.resolve(e)
	switch {
	case err == nil:
		return rd.add(it)
	case errors.Is(err, errEarly) && rd.waiting+len(e.Resource) <= rd.run.limits.EarlyBytes:
		rd.early = append(rd.early, e)
		rd.waiting += len(e.Resource)
		return nil
	}
	return rd.refuse(e.Index, err)
}

// retry takes the entries that waited, now that every Patient has come.
func (rd *reader) retry() error {
	early := rd.early
	rd.early = nil
	for _, e := range early {
		it, err := rd.resolver.resolve(e)
		if err == nil {
			err = rd.add(it)
		} else {
			if errors.Is(err, errEarly) {
				err = errOtherPatient
			}
			err = rd.refuse(e.Index, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (rd *reader) add(it item) error {
	ref := store.Ref{Type: it.resourceType, ID: it.id}
	limits := rd.run.limits
	// One statement cannot store two versions of a resource.
	if rd.batch.seen[ref] || len(rd.batch.items) >= limits.BatchEntries ||
		len(rd.batch.items) > 0 && rd.batch.bytes+len(it.json) > limits.BatchBytes {
		if err := rd.flush(); err != nil {
			return err
		}
	}
	rd.batch.seen[ref] = true
	rd.batch.items = append(rd.batch.items, it)
	rd.batch.bytes += len(it.json)
	return nil
}

func (rd *reader) refuse(index int64, err error) error {
	rd.batch.refuse(index, err)
	if len(rd.batch.problems) >= rd.run.limits.BatchEntries {
		return rd.flush()
	}
	return nil
}

func (rd *reader) flush() error {
	b := rd.batch
	if len(b.items) == 0 && len(b.problems) == 0 {
		return nil
	}
	rd.batch = newBatch()
	return rd.send(b)
}
