// Package rights holds the operations on what patients may ask for: requests and
// their clocks, one-time tokens, exports, amendments, the ledger of disclosures and consents.
// Each commits its audit events together with what it reads or writes. It knows no gRPC.
package rights

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/watch"
)

// Rights runs the operations. Safe for concurrent use.
type Rights struct {
	access *pg.Access
	keys   *keys.Keys
	chart  *chart.Chart
	files  *attach.Files
	watch  *watch.Watch
	now    func() time.Time
}

// New makes a Rights; now is the server's clock.
func New(a *pg.Access, k *keys.Keys, c *chart.Chart, f *attach.Files, w *watch.Watch, now func() time.Time) *Rights {
	return &Rights{access: a, keys: k, chart: c, files: f, watch: w, now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }}
}

// Place is where a request, disclosure or consent stands.
type Place struct{ Patient, ID uuid.UUID }

var (
	errBusy      = errs.New(errs.KindConflict, "CHANGED_MEANWHILE", "The entry or the patient was changed at the same time: try again.")
	errExhausted = errs.New(errs.KindPrecondition, "KEY_EXHAUSTED", "The patient's data key has sealed as many documents as is safe (2^31): rotate it.")
	errFuture    = errs.New(errs.KindInvalid, "TIME_IN_FUTURE", "What is recorded has happened: its time cannot be in the future.")
)

// actor is who does something: a user, or the person who holds a token.
type actor struct {
	viewer store.Viewer
	user   uuid.UUID // nil for the holder of a token
	view   access.View
}

func (a actor) byToken() bool { return a.user == uuid.Nil }

// name is how what is stored names the user.
func (a actor) name() string {
	if a.byToken() {
		return ""
	}
	return "users/" + a.user.String()
}

func caller(ctx context.Context) (actor, error) {
	who, v, err := chart.View(ctx)
	if err != nil {
		return actor{}, err
	}
	// Not through a broken glass: what a request, a token or an export gives would outlast its hour.
	v.User = uuid.Nil
	return actor{viewer: v, user: who.User, view: who.View()}, nil
}

// kind ties a type of row to its collection in names and events.
type kind[T proto.Message] struct{ rowType, collection string }

func (k kind[T]) blank() T {
	var zero T
	return zero.ProtoReflect().Type().New().Interface().(T)
}

// about names a row in an event.
func (k kind[T]) about(at Place, version int64) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Patient(at.Patient)(e)
		name := k.collection
		if at.ID != uuid.Nil {
			name += "/" + at.ID.String()
		}
		evidence.Resource(name, version)(e)
	}
}

// name is the resource name of a row.
func (k kind[T]) name(at Place) string {
	return "patients/" + at.Patient.String() + "/" + k.collection + "/" + at.ID.String()
}

// rider is what else a transaction that adds a row reads, writes and tells.
type rider struct {
	queue func(*pgx.Batch)
	// check runs when all results are in; its error undoes the transaction.
	check func() error
	mods  []func(*auditv1.Event)
}

// entry is a row with its content.
type entry[T proto.Message] struct {
	row store.RightsRow
	msg T
}

// find reads a row for a change, or of the nil id only the patient. A refusal leaves its event; a success leaves
// none, for the change that follows has its own.
func (k kind[T]) find(ctx context.Context, r *Rights, who actor, at Place) (store.Patient, entry[T], error) {
	var owner store.Patient
	var row store.RightsRow
	var known, found bool
	var refusal error
	err := r.access.Do(ctx, pg.Unit{
		Practice: who.viewer.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, who.viewer, at.Patient, &owner, &known)
			store.ReadRights(b, who.viewer.Practice, at.Patient, k.rowType, at.ID, &row, &found)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = chart.Judge(ctx, known && (found || at.ID == uuid.Nil), owner.Visible, k.about(at, 0))
			if refusal == nil {
				return nil, nil
			}
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	out := entry[T]{row: row}
	if err == nil && at.ID != uuid.Nil {
		out.msg, err = k.open(ctx, r, who.viewer.Practice, row)
	}
	return owner, out, err
}

// read shows a row.
func (k kind[T]) read(ctx context.Context, r *Rights, who actor, at Place) (entry[T], error) {
	var owner store.Patient
	var row store.RightsRow
	var known, found bool
	var refusal error
	err := r.access.Do(ctx, pg.Unit{
		Practice: who.viewer.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadPatient(b, who.viewer, at.Patient, &owner, &known)
			store.ReadRights(b, who.viewer.Practice, at.Patient, k.rowType, at.ID, &row, &found)
		},
		Decide: func() ([]*auditv1.Event, error) {
			var event *auditv1.Event
			event, refusal = chart.Judge(ctx, known && found, owner.Visible, k.about(at, 0), evidence.Count(1))
			return []*auditv1.Event{event}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return entry[T]{}, err
	}
	msg, err := k.open(ctx, r, who.viewer.Practice, row)
	return entry[T]{row: row, msg: msg}, err
}

func (k kind[T]) open(ctx context.Context, r *Rights, practice uuid.UUID, row store.RightsRow) (T, error) {
	msg := k.blank()
	key, err := r.keys.Get(ctx, practice, keys.Wrapped{ID: row.KeyID, Patient: row.Patient, Blob: row.Wrapped})
	if err != nil {
		return msg, err
	}
	defer key.Release()
	plain, err := key.Open(binding(practice, row), row.Sealed)
	if err != nil {
		// Somebody changed what is stored (claim DH-17): critical, which raises an alert.
		return msg, r.refuse(ctx, err, k.about(Place{row.Patient, row.ID}, row.Version))
	}
	if err := proto.Unmarshal(plain, msg); err != nil {
		return msg, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	return msg, nil
}

// add seals a version and commits it with its event. The entry's row says whose it is and which version.
func (k kind[T]) add(ctx context.Context, r *Rights, who actor, owner store.Patient, e entry[T], with rider) (entry[T], error) {
	if owner.Exhausted() {
		return e, errExhausted
	}
	before := e.row.Digest
	row, err := r.seal(ctx, who.viewer.Practice, owner, e.row, e.msg)
	if err != nil {
		return e, err
	}
	var done bool
	err = r.access.Do(ctx, pg.Unit{
		Practice: who.viewer.Practice,
		Queue: func(b *pgx.Batch) {
			store.AppendRights(b, who.viewer, row, &done)
			if with.queue != nil {
				with.queue(b)
			}
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !done {
				return nil, errBusy
			}
			if with.check != nil {
				if err := with.check(); err != nil {
					return nil, err
				}
			}
			mods := append([]func(*auditv1.Event){k.about(Place{row.Patient, row.ID}, row.Version), evidence.Digests(before, row.Digest)}, with.mods...)
			return []*auditv1.Event{evidence.From(ctx).Event(mods...)}, nil
		},
	})
	return entry[T]{row: row, msg: e.msg}, err
}

// change adds the next version of a row: apply changes its content, or says why not.
func (k kind[T]) change(ctx context.Context, r *Rights, who actor, at Place, apply func(T) error, with rider) (entry[T], error) {
	owner, e, err := k.find(ctx, r, who, at)
	if err != nil {
		return e, err
	}
	if err := apply(e.msg); err != nil {
		return e, r.refuse(ctx, err, k.about(at, 0))
	}
	e.row.Version++
	e.row.Updated = r.now()
	return k.add(ctx, r, who, owner, e, with)
}

// fresh is a new row of a patient.
func (k kind[T]) fresh(r *Rights, patient uuid.UUID, msg T) entry[T] {
	now := r.now()
	return entry[T]{msg: msg, row: store.RightsRow{
		Type: k.rowType, ID: uuid.Must(uuid.NewV7()), Patient: patient, Version: 1, Created: now, Updated: now,
	}}
}

func (r *Rights) seal(ctx context.Context, practice uuid.UUID, owner store.Patient, row store.RightsRow, msg proto.Message) (store.RightsRow, error) {
	index, err := r.keys.Practice(ctx, practice)
	if err != nil {
		return row, err
	}
	key, err := r.keys.Get(ctx, practice, keys.Wrapped{ID: owner.KeyID, Patient: owner.ID, Blob: owner.Wrapped})
	if err != nil {
		return row, err
	}
	defer key.Release()
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return row, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	if row.Due, row.Zone, err = dueRow(msg, r.now()); err != nil {
		return row, err
	}
	row.Erasure = ofErasure(msg)
	row.KeyID, row.Wrapped, row.Digest = key.ID(), owner.Wrapped, index.Index.Digest(plain)
	row.Sealed, err = key.Seal(binding(practice, row), plain)
	return row, err
}

func binding(practice uuid.UUID, row store.RightsRow) envelope.Binding {
	return envelope.Binding{Practice: practice, Patient: row.Patient, Type: row.Type, ID: row.ID, Version: row.Version, KeyID: row.KeyID}
}

// refuse commits the event of what was not done, and returns why.
func (r *Rights) refuse(ctx context.Context, why error, mods ...func(*auditv1.Event)) error {
	err := r.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(append(mods, evidence.Failure(why))...)}, nil
	}})
	if err != nil {
		return errs.Wrap(err, errs.KindUnavailable, "AUDIT_UNAVAILABLE", "The request was refused because it cannot be recorded now.")
	}
	return why
}

// inside reads what an operation needs on its way. It leaves no event: what is made of it has its own.
func (r *Rights) inside(ctx context.Context, who actor, queue func(*pgx.Batch)) error {
	return r.access.Do(ctx, pg.Unit{Practice: who.viewer.Practice, Queue: queue})
}
