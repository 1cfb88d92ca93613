package fhirapi

import (
	"context"
	"net/http"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
)

// answerBytes bounds the resources in the answer to a bundle, as a page of $everything: entries are
// few bytes, and each may ask for the same large resource.
const answerBytes = everythingBytes

var errAnswerFull = errs.New(errs.KindTooLarge, outcome.ReasonAnswer,
	"The answer to a bundle holds at most 8 MiB of resources: read this one, and those after it, with another request.")

// budget is what the entries of one bundle share.
type budget struct {
	left int   // bytes of resources that the answer still takes; 0 once one had no room
	over error // why no further entry is carried out
}

func newBudget() *budget { return &budget{left: answerBytes} }

// admit refuses an entry before it is carried out: a read once the answer is full, and everything
// once the caller's visit is over.
func (b *budget) admit(ctx context.Context, e entry, over func(context.Context) error) error {
	if b.over == nil {
		b.over = over(ctx)
	}
	if b.over == nil && e.method == http.MethodGet && b.left == 0 {
		return errAnswerFull
	}
	return b.over
}

// take takes the room of an answer. Only what is read is shown: the content of what was
// changed, or found instead of being created, does not wait in memory.
func (b *budget) take(e entry, a *recordsv1.FhirAnswer) error {
	size := len(a.GetContent())
	if e.method != http.MethodGet || size > b.left {
		a.Content = nil
	}
	if e.method != http.MethodGet {
		return nil
	}
	if size > b.left {
		b.left = 0
		return errAnswerFull
	}
	b.left -= size
	return nil
}
