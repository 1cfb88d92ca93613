package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/ledger"
)

// Filter narrows what is read of the log; zero values match everything, and all that is set has to match.
type Filter struct {
	Patient, User, Session, Device uuid.UUID
	Address                        netip.Prefix // one address, or all of a network
	Action, Outcome, Service       int16
	Risk                           int16 // at least
	Method                         string
	Actions                        Actions // any of these
	// From and To are of the event's own time, To exclusive. An event whose time is more than a
	// day from that in its id is found by the others only; it raised CLOCK_SKEW.
	From, To time.Time
}

// Actions is a set of actions; it can be compared, as a filter can.
type Actions [4]uint64

// Add puts an action into the set. Numbers above 255 are ignored: there are no such actions.
func (a *Actions) Add(action int16) {
	if action >= 0 && int(action) < 64*len(a) {
		a[action/64] |= 1 << (action % 64)
	}
}

func (a Actions) list() []int16 {
	var out []int16
	for action := range int16(64 * len(a)) {
		if a[action/64]&(1<<(action%64)) != 0 {
			out = append(out, action)
		}
	}
	return out
}

// skew is how far an event's time, its id's and that of its append may be apart without an alert.
const skew = 24 * time.Hour

// query is a WHERE clause with its arguments.
type query struct {
	where []string
	args  []any
}

// and adds a condition with one %d for the number of its argument.
func (q *query) and(condition string, arg any) {
	q.args = append(q.args, arg)
	q.where = append(q.where, fmt.Sprintf(condition, len(q.args)))
}

// text is the clause; sub-selects may use it, since arguments are numbered.
func (q *query) text() string { return strings.Join(q.where, " AND ") }

// highRisk is where the index of risks begins.
const highRisk = 3

// base begins a query with what an index serves: every row that meets it costs nothing to find.
func (f Filter) base(practice uuid.UUID) *query {
	q := &query{}
	q.and("practice_id = $%d", practice)
	switch {
	case f.Patient != uuid.Nil:
		q.and("patient_id = $%d", f.Patient)
	case f.User != uuid.Nil:
		q.and("user_id = $%d", f.User)
	case f.Risk >= highRisk:
		// Not an argument: only a number shows the planner that its index holds all such rows.
		q.where = append(q.where, fmt.Sprintf("(risk IS NULL OR risk >= %d)", f.Risk))
	}
	// Whole months, which are whole partitions: each row of those that are left meets this.
	if at := f.From.Add(-skew); !f.From.IsZero() && at.Year() >= firstYear {
		q.and("event_id >= $%d", firstID(at, 0))
	}
	if at := f.To.Add(skew); !f.To.IsZero() && at.Year() >= firstYear {
		q.and("event_id < $%d", firstID(at, 1))
	}
	return q
}

// firstYear is where the times of UUIDv7 begin.
const firstYear = 1970

// firstID is the smallest UUIDv7 of the month that is so many after the month of a time, in UTC.
func firstID(at time.Time, months int) uuid.UUID {
	at = at.UTC()
	month := time.Date(at.Year(), at.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(month.UnixMilli())<<16)
	return id
}

// rest adds the conditions that each row has to be asked for, and reports whether there are any.
func (f Filter) rest(q *query) bool {
	before := len(q.where)
	if f.Patient != uuid.Nil && f.User != uuid.Nil {
		q.and("user_id = $%d", f.User)
	}
	if f.Action != 0 {
		q.and("action = $%d", f.Action)
	}
	if some := f.Actions.list(); len(some) > 0 {
		q.and("action = ANY ($%d)", some)
	}
	if f.Outcome != 0 {
		q.and("outcome = $%d", f.Outcome)
	}
	if !f.From.IsZero() {
		q.and("event_time >= $%d", f.From)
	}
	if !f.To.IsZero() {
		q.and("event_time < $%d", f.To)
	}
	way := &query{args: q.args}
	f.way(way)
	if len(way.where) > 0 {
		q.args = way.args
		q.where = append(q.where, "(risk IS NULL OR "+way.text()+")")
	}
	return len(q.where) > before
}

// way adds the conditions on columns that older rows lack.
func (f Filter) way(q *query) {
	if f.Session != uuid.Nil {
		q.and("session_id = $%d", f.Session)
	}
	if f.Device != uuid.Nil {
		q.and("device_id = $%d", f.Device)
	}
	if f.Address.IsValid() {
		q.and("address <<= $%d", f.Address)
	}
	if f.Risk > 1 {
		q.and("risk >= $%d", f.Risk)
	}
	if f.Service != 0 {
		q.and("service = $%d", f.Service)
	}
	if f.Method != "" {
		q.and("method = $%d", f.Method)
	}
}

// keeps asks the event of a row that lacks the columns; the query has decided about all others.
func (f Filter) keeps(e ledger.Entry) bool {
	if e.Index.Where != nil {
		return true
	}
	event, problem := e.Check()
	if problem != nil {
		return true // whoever shows it says what is wrong
	}
	x, err := ledger.IndexOf(event)
	if err != nil {
		return true
	}
	w := x.Where
	return (f.Session == uuid.Nil || f.Session == w.Session) && (f.Device == uuid.Nil || f.Device == w.Device) &&
		(!f.Address.IsValid() || f.Address.Contains(w.Address)) && f.Risk <= w.Risk &&
		(f.Service == 0 || f.Service == w.Service) && (f.Method == "" || f.Method == w.Method)
}

// since is the first entry that the filter's beginning lets match: what was appended long before is no later event.
func (s *Store) since(ctx context.Context, f Filter) (int64, error) {
	if f.From.IsZero() {
		return 0, nil
	}
	var size int64
	err := s.pool.QueryRow(ctx, "SELECT size_at($1)", f.From.Add(-2*skew)).Scan(&size)
	return size, err
}
