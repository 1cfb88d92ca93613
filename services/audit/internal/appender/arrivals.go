package appender

import (
	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// arrivals are the outbox rows of the submissions, by the process that made them.
func arrivals(submissions []Submission) []store.Arrival {
	type process struct {
		service int16
		epoch   uuid.UUID
	}
	at := map[process]int{}
	var list []store.Arrival
	for _, s := range submissions {
		for _, r := range s.Rows {
			p := process{int16(s.Service), r.Epoch}
			i, ok := at[p]
			if !ok {
				i = len(list)
				at[p] = i
				list = append(list, store.Arrival{Service: p.service, Epoch: p.epoch})
			}
			a := &list[i]
			a.Numbers.Add(r.Number, r.Number)
			for _, c := range r.Claimed {
				a.Claimed.Add(c.First, c.Last)
			}
			a.Events += r.Events
		}
	}
	// A claim of what came with it is nothing to keep.
	for i := range list {
		list[i].Claimed = list[i].Claimed.Minus(list[i].Numbers)
	}
	return list
}
