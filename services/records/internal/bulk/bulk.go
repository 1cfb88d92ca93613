// Package bulk exports many patients' resources as FHIR Bulk Data Access asks for. There are
// no files with content, and nothing of an export is in memory: its moment and its plan stand in the
// database, and each file is read from the store when it is fetched, as of that moment and as far
// as the caller may see it then. So every replica goes on where another was killed, and what was
// erased meanwhile is in no file.
package bulk

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const (
	// settling is longer than any RPC that writes may take, with its commit: a change with a time
	// before the export's moment is committed by then, or never, so the moment's state changes no more.
	settling = 90 * time.Second
	// kept is how long an export can be fetched.
	kept = 24 * time.Hour
	// perUser is how many exports one user may have at a time.
	perUser = 8
	// stepsPerPoll bounds what a question for the status plans; the next one goes on.
	stepsPerPoll = 50

	defaultFileResources = 500
	defaultScanResources = 10_000
	fileBytes            = 2 << 20
	// A file may hold so many times what was planned, where the caller sees more since.
	slack = 2
)

// Limits of exports. Zero means the default.
type Limits struct {
	FileResources int `yaml:"file_resources"` // 500
	ScanResources int `yaml:"scan_resources"` // 10,000
}

// Validate implements config.Validator.
func (l Limits) Validate() error {
	if l.FileResources < 0 || l.FileResources > defaultFileResources || l.ScanResources < 0 || l.ScanResources > defaultScanResources {
		return fmt.Errorf("export: file_resources and scan_resources must be at most %d and %d", defaultFileResources, defaultScanResources)
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	if l.FileResources == 0 {
		l.FileResources = defaultFileResources
	}
	if l.ScanResources == 0 {
		l.ScanResources = defaultScanResources
	}
	return l
}

var (
	errUnready = errs.New(errs.KindPrecondition, "EXPORT_NOT_READY", "The export is not complete: ask for its status, and wait as Retry-After says.")
	errGrown   = errs.New(errs.KindPrecondition, "EXPORT_FILE_GROWN", "The caller sees many more patients than when this file was planned: begin another export.")
	errMany    = errs.New(errs.KindLimited, "EXPORTS_BUSY", "The user has as many exports as one may have at a time: DELETE those that are done with.")
)

// Exports runs them. Safe for concurrent use.
type Exports struct {
	access *pg.Access
	chart  *chart.Chart
	limits Limits
	now    func() time.Time
}

// New makes Exports; now is the server's clock.
func New(access *pg.Access, c *chart.Chart, l Limits, now func() time.Time) *Exports {
	return &Exports{access: access, chart: c, limits: l.withDefaults(), now: func() time.Time { return now().UTC().Truncate(time.Microsecond) }}
}

// Status is an export, and how far it is.
type Status struct {
	store.BulkExport
	// Wait is how long its moment takes to settle; Left how many types are not planned then.
	Wait time.Duration
	Left int
}

// Done reports whether the files can be fetched.
func (s Status) Done() bool { return s.Wait <= 0 && s.Plan.Type == "" }

// Start fixes an export of the types: its moment is now.
func (x *Exports) Start(ctx context.Context, types []string, since time.Time, request string) (uuid.UUID, error) {
	c, v, err := chart.View(ctx)
	if err != nil {
		return uuid.Nil, err
	}
	now := x.now()
	types = slices.Sorted(slices.Values(types))
	e := store.BulkExport{
		ID: uuid.Must(uuid.NewV7()), User: c.User, Types: types, Since: since, Request: request,
		Created: now, Ready: now.Add(settling), Expires: now.Add(settling + kept), Plan: store.Ref{Type: types[0]},
	}
	var others int
	return e.ID, x.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.PutExport(b, v.Practice, e, &others) },
		Decide: func() ([]*auditv1.Event, error) {
			if others >= perUser {
				return nil, errMany // the chain records it
			}
			return []*auditv1.Event{about(ctx, e.ID)}, nil
		},
	})
}

func about(ctx context.Context, id uuid.UUID, mods ...func(*auditv1.Event)) *auditv1.Event {
	return evidence.From(ctx).Event(append(mods, evidence.Resource("fhirExports/"+id.String(), 0))...)
}

// End ends an export of the caller's.
func (x *Exports) End(ctx context.Context, id uuid.UUID) error {
	c, v, err := chart.View(ctx)
	if err != nil {
		return err
	}
	_, err = x.own(ctx, id, true, func(b *pgx.Batch) { store.EndBulkExport(b, v.Practice, id, c.User) })
	return err
}

// own reads an export of the caller's, with what else queue asks. One of somebody else is like one
// that never was. record is false where what follows commits its own event of success.
func (x *Exports) own(ctx context.Context, id uuid.UUID, record bool, queue func(*pgx.Batch)) (store.BulkExport, error) {
	c, v, err := chart.View(ctx)
	if err != nil {
		return store.BulkExport{}, err
	}
	var e store.BulkExport
	var found bool
	var refusal error
	err = x.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue: func(b *pgx.Batch) {
			store.ReadExport(b, v.Practice, id, x.now(), &e, &found)
			queue(b)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if refusal = nil; !found || e.User != c.User {
				refusal = chart.NotFound
				return []*auditv1.Event{about(ctx, id, evidence.Failure(refusal))}, nil
			}
			if !record {
				return nil, nil
			}
			return []*auditv1.Event{about(ctx, id)}, nil
		},
	})
	if err == nil {
		err = refusal
	}
	return e, err
}
