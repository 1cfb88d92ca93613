package upkeep

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// others puts what the patient has sealed beside documents under the new key: matters of legal holds, requests,
// disclosures and consents, reasons of openings and referrals; for the directory, the marks.
func (r *resealing) others(ctx context.Context) error {
	for behind := (store.Document{}); ; {
		var rows []store.Document
		err := r.access.Do(ctx, pg.Unit{Practice: r.job.Practice, Alone: true, Queue: func(b *pgx.Batch) {
			store.RestUnder(b, r.job.Practice, r.patient, r.old.ID(), behind, resealBatch, &rows)
		}})
		if err != nil || len(rows) == 0 {
			return err
		}
		behind = rows[len(rows)-1]
		if err := r.otherBatch(ctx, rows); err != nil {
			return err
		}
	}
}

func (r *resealing) otherBatch(ctx context.Context, rows []store.Document) error {
	if err := r.reseals.WaitN(ctx, len(rows)); err != nil {
		return err
	}
	good := rows[:0:0]
	var sealed [][]byte
	for _, row := range rows {
		again, err := r.otherOver(row)
		if err != nil {
			r.job.Broken++
			if err := r.alarm(ctx, err, aboutOther(row)); err != nil {
				return err
			}
			continue
		}
		good, sealed = append(good, row), append(sealed, again)
	}
	if len(good) == 0 {
		return nil
	}
	return r.keep(ctx, len(good), func(b *pgx.Batch, stored *int64) {
		store.ResealRest(b, r.job.Practice, r.old.ID(), r.fresh.ID(), good, sealed, stored)
	})
}

// otherOver opens a row under the old key and seals it under the new one.
func (r *resealing) otherOver(row store.Document) ([]byte, error) {
	binding := bindingOf(r.job.Practice, row)
	plain, err := openOther(r.old, r.index, binding, row)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	binding.KeyID = r.fresh.ID()
	return r.fresh.Seal(binding, plain)
}

// digested are the types of such rows that have a digest.
var digested = map[string]bool{store.TypeRightsRequest: true, store.TypeDisclosure: true, store.TypePatientConsent: true}

// openOther opens a row that is no document, and compares it with its digest where it has one.
func openOther(key *envelope.Key, index *envelope.Index, binding envelope.Binding, row store.Document) ([]byte, error) {
	if digested[row.Type] {
		return openWhole(key, index, binding, row)
	}
	return key.Open(binding, row.Sealed)
}

// collections are the names of such rows in events.
var collections = map[string]string{
	store.TypeHold: "legalHolds", store.TypeOpening: "glassOpenings", store.TypeReferral: "referrals", store.TypeWatchList: "watchLists", store.TypeRightsRequest: "rightsRequests",
	store.TypeDisclosure: "disclosures", store.TypePatientConsent: "consents",
}

func aboutOther(row store.Document) func(*auditv1.Event) {
	return func(e *auditv1.Event) {
		evidence.Resource(collections[row.Type]+"/"+row.ID.String(), row.Version)(e)
		if row.Patient != uuid.Nil { // a hold on the practice is nobody's
			evidence.Patient(row.Patient)(e)
		}
	}
}
