// Package places bounds how much of something that takes long goes on at once in a replica, and how much of
// it for one user, so that nobody keeps the others from it.
package places

import (
	"sync"

	"github.com/google/uuid"
)

// Person is a user of a practice: user ids are not unique beyond one.
type Person struct{ Practice, User uuid.UUID }

// Options are the bounds, and the errors that say which one is reached.
type Options struct {
	Limit, Each      int
	Crowded, YourOwn error
}

// Places are what somebody takes one of. Safe for concurrent use.
type Places struct {
	opts Options

	mu    sync.Mutex
	taken map[Person]int
	total int
}

// New makes Places of which none is taken.
func New(o Options) *Places { return &Places{opts: o, taken: map[Person]int{}} }

// Take takes a place, which leave gives back.
func (p *Places) Take(who Person) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken[who] >= p.opts.Each:
		return nil, p.opts.YourOwn
	case p.total >= p.opts.Limit:
		return nil, p.opts.Crowded
	}
	p.taken[who]++
	p.total++
	return func() { p.leave(who) }, nil
}

func (p *Places) leave(who Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.taken[who]--; p.taken[who] == 0 {
		delete(p.taken, who) // or the map would remember everybody
	}
}
