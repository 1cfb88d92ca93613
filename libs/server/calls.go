package server

import (
	"maps"
	"slices"
	"sync"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

const (
	// keptMinutes is how many whole minutes are told again and again: that long may the way to the
	// audit store be interrupted before counts are lost.
	keptMinutes = 15
	// settleAfter is how long after its end a minute is whole: a call that began in it is counted by then.
	settleAfter = 2 * time.Second
)

// calls counts the calls that ran through the chain, by the minute they began in.
type calls struct {
	mu      sync.Mutex
	minutes map[int64]map[string]int64
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

func (c *calls) count(began time.Time, method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	minute := minuteOf(began)
	if c.minutes[minute] == nil {
		if c.minutes == nil {
			c.minutes = map[int64]map[string]int64{}
		}
		c.minutes[minute] = map[string]int64{}
		for old := range c.minutes {
			if old < minute-keptMinutes {
				delete(c.minutes, old)
			}
		}
	}
	c.minutes[minute][method]++
}

// Calls tells how many calls began in each of the last minutes, by method, denied ones included:
// of minutes that are over, or also of the one that is not. Methods that nobody offers count as one, "".
func (s *Server) Calls(whole bool) []*auditv1.MinuteCalls {
	c := &s.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*auditv1.MinuteCalls
	open := minuteOf(time.Now().Add(-settleAfter))
	for _, minute := range slices.Sorted(maps.Keys(c.minutes)) {
		if whole && minute >= open || minute < open-keptMinutes {
			continue
		}
		m := &auditv1.MinuteCalls{Minute: minute}
		for _, method := range slices.Sorted(maps.Keys(c.minutes[minute])) {
			m.Methods = append(m.Methods, &auditv1.MethodCalls{Method: method, Calls: c.minutes[minute][method]})
		}
		out = append(out, m)
	}
	return out
}
