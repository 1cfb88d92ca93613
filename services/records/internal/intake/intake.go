// Package intake imports FHIR bundles of any size in constant memory: entries are
// read from a stream, checked, sealed and committed in batches, each batch with the audit
// events of what it stores. It knows no gRPC.
package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/bundle"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/places"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Limits bound what one import holds in memory, and how many run at once. Zero
// means the default.
type Limits struct {
	EntryBytes   int `yaml:"entry_bytes"`   // largest entry; 2 MiB
	EarlyBytes   int `yaml:"early_bytes"`   // entries that wait for their Patient; 8 MiB
	BatchEntries int `yaml:"batch_entries"` // entries in a transaction; 200
	BatchBytes   int `yaml:"batch_bytes"`   // bytes in a transaction, about; 1 MiB
	Patients     int `yaml:"patients"`      // patients in one bundle, at some 50 bytes each; 1,000,000
	Concurrent   int `yaml:"concurrent"`    // imports at once; 4
	PerUser      int `yaml:"per_user"`      // of them, of one user; 2
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		value  *int
		preset int
	}{
		{&l.EntryBytes, 2 << 20}, {&l.EarlyBytes, 8 << 20}, {&l.BatchEntries, 200}, {&l.BatchBytes, 1 << 20},
		{&l.Patients, 1_000_000}, {&l.Concurrent, 4}, {&l.PerUser, 2},
	} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	return l
}

// Validate implements config.Validator.
func (l Limits) Validate() error {
	if min(l.EntryBytes, l.EarlyBytes, l.BatchEntries, l.BatchBytes, l.Patients, l.Concurrent, l.PerUser) < 0 {
		return errors.New("limits of imports must be positive, or left out for their defaults")
	}
	return nil
}

// Importer runs imports. Safe for concurrent use.
type Importer struct {
	access *pg.Access
	keys   *keys.Keys
	index  *index.Generations
	limits Limits
	now    func() time.Time
	places *places.Places
}

// New makes an Importer.
func New(access *pg.Access, k *keys.Keys, x *index.Generations, limits Limits, now func() time.Time) *Importer {
	limits = limits.withDefaults()
	return &Importer{
		access: access, keys: k, index: x, limits: limits, places: places.New(places.Options{Limit: limits.Concurrent, Each: limits.PerUser, Crowded: errCrowded, YourOwn: errYourOwn}),
		now: func() time.Time { return now().UTC().Truncate(time.Microsecond) },
	}
}

// Options of one import.
type Options struct {
	// Doctor is whose patients new ones become; nil is the caller, who must be a doctor.
	Doctor uuid.UUID
	// Patient, where set, is the only patient whose entries are taken.
	Patient uuid.UUID
}

// Totals count entries that are done with: stored, found stored, or refused.
type Totals struct{ Created, Updated, Unchanged, Refused int64 }

// Problem is an entry that was refused. Its text holds nothing of the entry.
type Problem struct {
	Index           int64
	Reason, Message string
}

// Report is told what happens, in one goroutine. An error of it ends the import.
type Report interface {
	Problem(Problem) error
	// Progress comes after each commit.
	Progress(Totals) error
}

const reasonBusy = "IMPORTS_BUSY"

var (
	errNoDoctor = errs.New(errs.KindInvalid, "DOCTOR_REQUIRED", "The import must say whose patients these become: set doctor to a user of the practice.").
			WithField("options.doctor", `must be "users/{uuid}" where the caller is no doctor`)
	errOtherDoctor = errs.New(errs.KindDenied, "DOCTOR_NOT_PERMITTED", "The caller may not import for this doctor: only for himself, or for a doctor he acts for.")
	errCrowded     = errs.New(errs.KindLimited, reasonBusy, "Too many imports are running: try again.").WithRetry(5 * time.Second)
	errYourOwn     = errs.New(errs.KindLimited, reasonBusy, "Too many imports of this user are running: wait until one has ended.").WithRetry(5 * time.Second)
)

// Run imports one bundle. What was committed stays, also when it ends in an
// error; the same bundle can be sent again, for what is stored already is left alone.
// It closes the stream where it ends before the stream does.
func (im *Importer) Run(ctx context.Context, o Options, in io.ReadCloser, report Report) (Totals, error) {
	r, err := im.begin(ctx, o)
	if err != nil {
		return Totals{}, err
	}
	leave, err := im.places.Take(r.who)
	if err != nil {
		return Totals{}, err
	}
	defer leave()
	if r.practice, err = im.keys.Practice(ctx, r.viewer.Practice); err != nil {
		return Totals{}, err
	}
	// Problems may have to be reported before anything was stored, and nothing
	// leaves without evidence.
	if err := im.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event()}, nil
	}}); err != nil {
		return Totals{}, err
	}
	return r.pipeline(ctx, in, report)
}

// run is one import.
type run struct {
	*Importer
	who  places.Person
	held access.Permissions
	// viewer sees the patients whom the caller treats. The rest of the practice is
	// open to new resources where whole is set.
	viewer   store.Viewer
	whole    bool
	options  Options
	practice *keys.Practice
	pending  pending
	totals   Totals
}

// begin settles whose patients these become. Those that exist the import sees
// through the caller's eyes.
func (im *Importer) begin(ctx context.Context, o Options) (*run, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return nil, errs.New(errs.KindUnauthenticated, "NO_CALLER", "The request names no caller.")
	}
	whole := who.Permissions.Has(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE)
	switch {
	case o.Doctor == uuid.Nil && who.Role == accessv1.RoleKind_ROLE_KIND_DOCTOR:
		o.Doctor = who.User
	case o.Doctor == uuid.Nil:
		return nil, errNoDoctor
	case !whole && !slices.Contains(who.Subjects(), o.Doctor):
		return nil, errOtherDoctor
	}
	return &run{
		Importer: im, options: o,
		who: places.Person{Practice: who.Practice, User: who.User}, held: who.Permissions,
		viewer: store.Viewer{Practice: who.Practice, Subjects: who.Subjects()}, whole: whole,
	}, nil
}

// pipeline runs the three stages at once: while one batch commits, the next is
// sealed and the one after is read. Batches wait in no queue, so at most three are in memory.
func (r *run) pipeline(ctx context.Context, in io.ReadCloser, report Report) (Totals, error) {
	group, ctx := errgroup.WithContext(ctx)
	// The first stage may wait for bytes that never come when another one fails.
	defer context.AfterFunc(ctx, func() { _ = in.Close() })()
	read, ready := make(chan *batch), make(chan *batch)
	var malformed *bundle.Malformed
	group.Go(func() error {
		defer close(read)
		err := r.read(ctx, in, read)
		if errors.As(err, &malformed) {
			return nil // what came before it is still taken
		}
		return err
	})
	group.Go(func() error {
		defer close(ready)
		for b := range read {
			if err := r.prepare(ctx, b); err != nil {
				return err
			}
			select {
			case ready <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		for b := range ready {
			if err := r.finish(ctx, b, report); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return r.totals, err
	}
	if malformed != nil {
		return r.totals, errs.New(errs.KindInvalid, "BUNDLE_MALFORMED", fmt.Sprintf("%s. What came before is stored; send the corrected bundle again.", capital(malformed.Error())))
	}
	return r.totals, nil
}

func capital(s string) string { return "T" + s[1:] }
