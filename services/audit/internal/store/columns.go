package store

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/ledger"
)

const entryColumns = "seq, event_id, practice_id, user_id, patient_id, action, outcome, event_time, append_time, salt, event, leaf_hash, " +
	"session_id, device_id, address, risk, service, method"

// scanEntry reads entryColumns.
func scanEntry(row pgx.CollectableRow) (ledger.Entry, error) {
	var r entryRow
	if err := row.Scan(r.targets()...); err != nil {
		return ledger.Entry{}, err
	}
	return r.entry(), nil
}

// entryRow is a row of entries on its way.
type entryRow struct {
	e               ledger.Entry
	x               ledger.Index
	appended        time.Time
	leaf            []byte
	session, device *uuid.UUID
	address         *netip.Addr
	risk, service   *int16
	method          *string
}

// targets is what Scan takes for entryColumns.
func (r *entryRow) targets() []any {
	x := &r.x
	return []any{&r.e.Seq, &x.EventID, &x.Practice, &x.User, &x.Patient, &x.Action, &x.Outcome, &x.EventTime, &r.appended, &r.e.Salt,
		&r.e.Event, &r.leaf, &r.session, &r.device, &r.address, &r.risk, &r.service, &r.method}
}

func (r *entryRow) entry() ledger.Entry {
	// A leaf of another length cannot be stored; should a superuser have done it, the hash simply differs.
	copy(r.e.Leaf[:], r.leaf)
	r.x.EventTime, r.appended = r.x.EventTime.UTC(), r.appended.UTC()
	// A row without risk is from before these columns, and nobody filters by them.
	if r.risk != nil {
		r.x.Where = &ledger.Where{
			Session: orZero(r.session), Device: orZero(r.device), Address: orZero(r.address),
			Risk: *r.risk, Service: orZero(r.service), Method: orZero(r.method),
		}
	}
	r.e.Index, r.e.AppendTime = &r.x, &r.appended
	return r.e
}

func orZero[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

func orNull(id uuid.UUID) *[16]byte {
	if id == uuid.Nil {
		return nil
	}
	return (*[16]byte)(&id)
}

// queueEntries inserts all rows by one statement: an array for each column costs
// far less than a statement for each row. (COPY is not allowed under row-level security.)
func queueEntries(b *pgx.Batch, entries []ledger.Entry) {
	n := len(entries)
	seqs := make([]int64, n)
	eventTimes, appendTimes := make([]time.Time, n), make([]time.Time, n)
	ids, practices, users, patients := make([][16]byte, n), make([][16]byte, n), make([][16]byte, n), make([][16]byte, n)
	sessions, devices := make([]*[16]byte, n), make([]*[16]byte, n)
	actions, outcomes, risks, services := make([]int16, n), make([]int16, n), make([]int16, n), make([]int16, n)
	salts, events, leaves := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	addresses, methods := make([]*netip.Addr, n), make([]string, n)
	for i := range entries {
		e, w := &entries[i], entries[i].Index.Where
		seqs[i], ids[i] = e.Seq, e.Index.EventID
		practices[i], users[i], patients[i] = e.Index.Practice, e.Index.User, e.Index.Patient
		actions[i], outcomes[i] = e.Index.Action, e.Index.Outcome
		eventTimes[i], appendTimes[i] = e.Index.EventTime, *e.AppendTime
		salts[i], events[i], leaves[i] = e.Salt, e.Event, e.Leaf[:]
		sessions[i], devices[i] = orNull(w.Session), orNull(w.Device)
		risks[i], services[i], methods[i] = w.Risk, w.Service, w.Method
		if w.Address.IsValid() {
			addresses[i] = &w.Address
		}
	}
	args := []any{seqs, ids, practices, users, patients, actions, outcomes, eventTimes, appendTimes, salts, events, leaves,
		sessions, devices, addresses, risks, services, methods}
	types := strings.Split("bigint uuid uuid uuid uuid smallint smallint timestamptz timestamptz bytea bytea bytea uuid uuid inet smallint smallint text", " ")
	arrays := make([]string, len(types))
	for i, t := range types {
		arrays[i] = fmt.Sprintf("$%d::%s[]", i+1, t)
	}
	b.Queue("INSERT INTO entries ("+entryColumns+") SELECT * FROM unnest("+strings.Join(arrays, ", ")+")", args...)
}
