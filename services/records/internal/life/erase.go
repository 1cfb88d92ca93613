package life

import (
	"context"
	"errors"
	"reflect"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// States of an erasure.
const (
	requested = int16(recordsv1.ErasureState_ERASURE_STATE_REQUESTED)
	denied    = int16(recordsv1.ErasureState_ERASURE_STATE_REFUSED)
	done      = int16(recordsv1.ErasureState_ERASURE_STATE_DONE)
)

// Request asks for the erasure of a patient. Nothing is destroyed by it.
func (l *Life) Request(ctx context.Context, patient uuid.UUID, ground int16) (store.Erasure, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	if _, err := l.owner(ctx, v, patient); err != nil {
		return store.Erasure{}, err
	}
	e := store.Erasure{ID: uuid.Must(uuid.NewV7()), Patient: patient, State: requested, Ground: ground, RequestedBy: user, Requested: l.now()}
	var stored bool
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.RequestErasure(b, v, e, &stored) },
		Decide: func() ([]*auditv1.Event, error) {
			if !stored {
				return nil, errs.New(errs.KindConflict, "ERASURE_OPEN", "An erasure of this patient is asked for already: decide on that one.")
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutErasure(e))}, nil
		},
	})
	return e, err
}

func aboutErasure(e store.Erasure) func(*auditv1.Event) {
	return func(event *auditv1.Event) {
		evidence.Resource("erasures/"+e.ID.String(), 0)(event)
		evidence.Patient(e.Patient)(event)
	}
}

// open reads an erasure that the caller may decide on.
func (l *Life) open(ctx context.Context, user uuid.UUID, v store.Viewer, id uuid.UUID) (store.Erasure, error) {
	var e store.Erasure
	var found bool
	err := l.access.Do(ctx, pg.Unit{Practice: v.Practice, Queue: func(b *pgx.Batch) { store.ReadErasure(b, v.Practice, id, &e, &found) }})
	switch {
	case err != nil:
		return e, err
	case !found:
		return e, errNotFound
	case e.State != requested:
		return e, errs.New(errs.KindPrecondition, "ERASURE_DECIDED", "This erasure is decided already.")
	case e.RequestedBy == user:
		return e, errSame
	}
	_, err = l.owner(ctx, v, e.Patient)
	return e, err
}

// Refuse refuses an erasure under an exemption of GDPR Article 17(3).
func (l *Life) Refuse(ctx context.Context, id uuid.UUID, exemption int16) (store.Erasure, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	e, err := l.open(ctx, user, v, id)
	if err != nil {
		return e, err
	}
	e.State, e.Exemption, e.DecidedBy, e.Decided = denied, exemption, user, l.now()
	var settled bool
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.SettleErasure(b, v.Practice, e, &settled) },
		Decide: func() ([]*auditv1.Event, error) {
			if !settled {
				return nil, errChanged
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutErasure(e))}, nil
		},
	})
	return e, err
}

// Grant destroys the patient, under the certificate that it stores.
func (l *Life) Grant(ctx context.Context, id uuid.UUID) (store.Erasure, error) {
	user, v, err := view(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	e, err := l.open(ctx, user, v, id)
	if err != nil {
		return e, err
	}
	e.State, e.DecidedBy = done, user
	return l.destroy(ctx, v.Practice, e, func(b *pgx.Batch, e store.Erasure, stored *bool) {
		store.SettleErasure(b, v.Practice, e, stored)
	})
}

// attempts bounds how often a patient is counted anew whom others go on changing.
const attempts = 3

// destroy signs the certificate, then destroys in one transaction what the certificate
// names, with the event that carries it. Killed at any moment, either all of that is
// there or nothing, and the decision is simply made again.
func (l *Life) destroy(ctx context.Context, practice uuid.UUID, e store.Erasure, keep func(*pgx.Batch, store.Erasure, *bool)) (store.Erasure, error) {
	for try := 1; ; try++ {
		var plan store.Toll
		err := l.access.Do(ctx, pg.Unit{
			Practice: practice, Alone: true,
			Queue: func(b *pgx.Batch) { store.CountPatient(b, practice, e.Patient, &plan) },
		})
		if err != nil {
			return e, err
		}
		e.Decided = l.now()
		if e.Certificate, err = l.certify(ctx, practice, e, plan); err != nil {
			return e, err
		}
		err = l.carryOut(ctx, practice, e, plan, keep)
		if errors.Is(err, errChanged) && try < attempts {
			continue
		}
		return e, err
	}
}

func (l *Life) carryOut(ctx context.Context, practice uuid.UUID, e store.Erasure, plan store.Toll, keep func(*pgx.Batch, store.Erasure, *bool)) error {
	var gone store.Toll
	var stored bool
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.ErasePatient(b, practice, e.Patient, &gone)
			keep(b, e, &stored)
		},
		Decide: func() ([]*auditv1.Event, error) {
			if !stored || !reflect.DeepEqual(plan, gone) {
				return nil, errChanged
			}
			return []*auditv1.Event{erased(ctx, e, gone)}, nil
		},
	})
	if err != nil {
		return refused(err)
	}
	for _, id := range gone.Keys {
		l.keys.Drop(practice, id)
	}
	return nil
}

// erased is the event that carries the certificate into the log.
func erased(ctx context.Context, e store.Erasure, gone store.Toll) *auditv1.Event {
	var rows int64
	for _, n := range gone.Rows {
		rows += n
	}
	return evidence.From(ctx).Event(evidence.Action(accessv1.Action_ACTION_ERASE), aboutErasure(e),
		evidence.Count(int(rows)), evidence.Certificate(e.Certificate))
}

func (l *Life) certify(ctx context.Context, practice uuid.UUID, e store.Erasure, plan store.Toll) (string, error) {
	return l.sign(ctx, certificate.Certificate{
		Kind: certificate.Erasure, ID: e.ID, Practice: practice, Patient: e.Patient, Citation: Citation(e.Ground, 0),
		RequestedBy: e.RequestedBy, RequestTime: e.Requested.UTC(), DecidedBy: e.DecidedBy, Time: e.Decided.UTC(),
		Keys: plan.Keys, Rows: plan.Rows, Digest: plan.Digest,
	})
}

// sign signs with the newest version of the key; one that was rotated meanwhile is read anew, once.
func (l *Life) sign(ctx context.Context, c certificate.Certificate) (string, error) {
	signer, err := l.notary.Signer(ctx)
	if err != nil {
		return "", err
	}
	signed, err := c.Sign(signer)
	if err == nil {
		return signed, nil
	}
	if _, err := l.notary.Verifiers(ctx); err != nil {
		return "", err
	}
	if signer, err = l.notary.Signer(ctx); err != nil {
		return "", err
	}
	return c.Sign(signer)
}

// Report is what a purge did, or would do.
type Report struct {
	Patients, Held []uuid.UUID
	Skipped        int
	More           bool
}

// maxHeld is how many patients a report names whom a hold keeps.
const maxHeld = 500

// Purge destroys patients whose retention has ended, or only names them. Each goes in a
// transaction of its own, so a purge that was killed goes on when it is called again.
func (l *Life) Purge(ctx context.Context, dry bool, limit int) (Report, error) {
	user, v, err := view(ctx)
	if err != nil {
		return Report{}, err
	}
	if limit == 0 {
		limit = defaultPage
	}
	var list []uuid.UUID
	var r Report
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.ListDue(b, v.Practice, uuid.Nil, false, limit+1, &list)
			store.ListDue(b, v.Practice, uuid.Nil, true, maxHeld, &r.Held)
		},
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("patients", 0), evidence.Count(min(len(list), limit)))}, nil
		},
	})
	if err != nil {
		return Report{}, err
	}
	if r.More = len(list) > limit; r.More {
		list = list[:limit]
	}
	if dry {
		r.Patients = list
		return r, nil
	}
	for _, patient := range list {
		switch err := l.purge(ctx, v.Practice, user, patient); {
		case err == nil:
			r.Patients = append(r.Patients, patient)
		case spared(err):
			r.Skipped++
		default:
			return r, err
		}
	}
	return r, nil
}

func (l *Life) purge(ctx context.Context, practice, user, patient uuid.UUID) error {
	e := store.Erasure{
		ID: uuid.Must(uuid.NewV7()), Patient: patient, State: done, RequestedBy: user, DecidedBy: user, Requested: l.now(),
		Ground: int16(recordsv1.ErasureGround_ERASURE_GROUND_RETENTION_ENDED),
	}
	_, err := l.destroy(ctx, practice, e, func(b *pgx.Batch, e store.Erasure, stored *bool) {
		store.KeepErasure(b, practice, e)
		*stored = true
	})
	return err
}

// Reapply destroys a patient whom an older backup brought back, on the strength of the
// certificate of then. Where the patient is gone it only keeps the certificate.
func (l *Life) Reapply(ctx context.Context, signed string) (store.Erasure, error) {
	_, v, err := view(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	known, err := l.notary.Verifiers(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	c, err := certificate.Open(signed, known)
	if err != nil || c.Kind != certificate.Erasure || c.Practice != v.Practice {
		return store.Erasure{}, errs.Wrap(err, errs.KindInvalid, "CERTIFICATE_INVALID", "This is no certificate of an erasure in this practice that we signed.").
			WithField("certificate", "must be the whole signed note, as the audit log has it")
	}
	ground, ok := groundOf(c.Citation)
	if !ok {
		return store.Erasure{}, errs.New(errs.KindInvalid, "CERTIFICATE_INVALID", "The certificate names a ground that is not known.")
	}
	e := store.Erasure{
		ID: c.ID, Patient: c.Patient, State: done, Ground: ground, RequestedBy: c.RequestedBy, Requested: c.RequestTime,
		DecidedBy: c.DecidedBy, Decided: c.Time, Certificate: signed,
	}
	return e, l.again(ctx, v.Practice, e)
}

func (l *Life) again(ctx context.Context, practice uuid.UUID, e store.Erasure) error {
	var gone store.Toll
	err := l.access.Do(ctx, pg.Unit{
		Practice: practice, Alone: true,
		Queue: func(b *pgx.Batch) {
			store.ErasePatient(b, practice, e.Patient, &gone)
			store.KeepErasure(b, practice, e)
		},
		Decide: func() ([]*auditv1.Event, error) { return []*auditv1.Event{erased(ctx, e, gone)}, nil },
	})
	if err = refused(err); !errors.Is(err, errNotFound) {
		for _, id := range gone.Keys {
			l.keys.Drop(practice, id)
		}
		return err
	}
	return l.access.Do(ctx, pg.Unit{
		Practice: practice,
		Queue:    func(b *pgx.Batch) { store.KeepErasure(b, practice, e) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{erased(ctx, e, store.Toll{})}, nil
		},
	})
}

// Erasure returns a decision.
func (l *Life) Erasure(ctx context.Context, id uuid.UUID) (store.Erasure, error) {
	_, v, err := view(ctx)
	if err != nil {
		return store.Erasure{}, err
	}
	var e store.Erasure
	var found bool
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ReadErasure(b, v.Practice, id, &e, &found) },
		Decide: func() ([]*auditv1.Event, error) {
			if !found {
				return nil, errNotFound
			}
			return []*auditv1.Event{evidence.From(ctx).Event(aboutErasure(e))}, nil
		},
	})
	return e, err
}

// Erasures lists decisions, newest first.
func (l *Life) Erasures(ctx context.Context, page Page) ([]store.Erasure, string, error) {
	_, v, err := view(ctx)
	if err != nil {
		return nil, "", err
	}
	before, err := page.before()
	if err != nil {
		return nil, "", err
	}
	var rows []store.Erasure
	err = l.access.Do(ctx, pg.Unit{
		Practice: v.Practice,
		Queue:    func(b *pgx.Batch) { store.ListErasures(b, v.Practice, before, page.size()+1, &rows) },
		Decide: func() ([]*auditv1.Event, error) {
			return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource("erasures", 0), evidence.Count(min(len(rows), page.size())))}, nil
		},
	})
	rows, next := cut(rows, page, func(e store.Erasure) uuid.UUID { return e.ID })
	return rows, next, err
}

// CertificateKeys returns the keys that certificates are verified with, one a line.
func (l *Life) CertificateKeys(ctx context.Context) (string, error) {
	if _, err := l.notary.Verifiers(ctx); err != nil { // one that was rotated is known
		return "", err
	}
	text, err := l.notary.File(ctx)
	if err != nil {
		return "", err
	}
	return text, l.access.Do(ctx, pg.Unit{Decide: func() ([]*auditv1.Event, error) { return []*auditv1.Event{evidence.From(ctx).Event()}, nil }})
}

// Citation is the article of law of a ground or, where there is one, of an exemption.
func Citation(ground, exemption int16) string {
	if exemption != 0 {
		return exemptions[recordsv1.ErasureExemption(exemption)]
	}
	return grounds[recordsv1.ErasureGround(ground)]
}

func groundOf(citation string) (int16, bool) {
	for ground, text := range grounds {
		if text == citation {
			return int16(ground), true
		}
	}
	return 0, false
}

var grounds = map[recordsv1.ErasureGround]string{
	recordsv1.ErasureGround_ERASURE_GROUND_NO_LONGER_NECESSARY: "GDPR Art. 17(1)(a)",
	recordsv1.ErasureGround_ERASURE_GROUND_CONSENT_WITHDRAWN:   "GDPR Art. 17(1)(b)",
	recordsv1.ErasureGround_ERASURE_GROUND_OBJECTION:           "GDPR Art. 17(1)(c)",
	recordsv1.ErasureGround_ERASURE_GROUND_UNLAWFUL_PROCESSING: "GDPR Art. 17(1)(d)",
	recordsv1.ErasureGround_ERASURE_GROUND_LEGAL_OBLIGATION:    "GDPR Art. 17(1)(e)",
	recordsv1.ErasureGround_ERASURE_GROUND_CHILD_SERVICE:       "GDPR Art. 17(1)(f)",
	recordsv1.ErasureGround_ERASURE_GROUND_RETENTION_ENDED:     "GDPR Art. 5(1)(e), retention ended",
}

var exemptions = map[recordsv1.ErasureExemption]string{
	recordsv1.ErasureExemption_ERASURE_EXEMPTION_FREE_EXPRESSION:  "GDPR Art. 17(3)(a)",
	recordsv1.ErasureExemption_ERASURE_EXEMPTION_LEGAL_OBLIGATION: "GDPR Art. 17(3)(b)",
	recordsv1.ErasureExemption_ERASURE_EXEMPTION_PUBLIC_HEALTH:    "GDPR Art. 17(3)(c)",
	recordsv1.ErasureExemption_ERASURE_EXEMPTION_RESEARCH:         "GDPR Art. 17(3)(d)",
	recordsv1.ErasureExemption_ERASURE_EXEMPTION_LEGAL_CLAIMS:     "GDPR Art. 17(3)(e)",
}
