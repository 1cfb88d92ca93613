package intake

import (
	"sync"

	"github.com/google/uuid"
)

// person is a user of a practice: user ids are not unique beyond one.
type person struct{ practice, user uuid.UUID }

// places are what imports run in. One user gets a few of them only, so that nobody
// keeps a whole practice from importing.
type places struct {
	limit, each int

	mu    sync.Mutex
	taken map[person]int
	total int
}

func newPlaces(limit, each int) *places {
	return &places{limit: limit, each: each, taken: map[person]int{}}
}

// take takes a place, which leave gives back.
func (p *places) take(who person) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken[who] >= p.each:
		return nil, errYourOwn
	case p.total >= p.limit:
		return nil, errCrowded
	}
	p.taken[who]++
	p.total++
	return func() { p.leave(who) }, nil
}

func (p *places) leave(who person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.taken[who]--; p.taken[who] == 0 {
		delete(p.taken, who) // or the map would remember everybody
	}
}
