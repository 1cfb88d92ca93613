package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// QueueRecipients adds patients to those whom a breach has to be told; those who are there stay.
func QueueRecipients(b *pgx.Batch, breach, practice uuid.UUID, patients []uuid.UUID, at time.Time) {
	ids := make([][16]byte, len(patients))
	for i, id := range patients {
		ids[i] = id
	}
	b.Queue(`
		INSERT INTO breach_recipients (breach_id, patient_id, practice_id, create_time)
		SELECT $1, p, $2, $3 FROM unnest($4::uuid[]) AS p ON CONFLICT DO NOTHING`, breach, practice, at, ids)
}

// Reach is how far the letters of a breach have come, by what became of each patient's last.
type Reach struct {
	Total, Pending, Sent, Delivered, Unreachable int64
	Unsent                                       int64      // recipients to whom none was sent for want of an address
	First, Last                                  *time.Time // when the first and the last recipient was sent the first letter; nil for none
}

// ReachOf counts the recipients of a breach.
func (s *Store) ReachOf(ctx context.Context, practice, breach uuid.UUID) (Reach, error) {
	rows, err := readAs(ctx, s.pool, practice, pgx.RowToStructByPos[Reach], `
		SELECT count(*), count(*) FILTER (WHERE d.kind IS NULL), count(*) FILTER (WHERE d.kind = 1), count(*) FILTER (WHERE d.kind = 2),
			count(*) FILTER (WHERE d.kind IN (3, 4)), count(*) FILTER (WHERE d.kind IS NOT NULL AND d.sent IS NULL), min(d.sent), max(d.sent)
		FROM breach_recipients r LEFT JOIN LATERAL (
			SELECT (array_agg(kind ORDER BY delivery_id DESC))[1] AS kind, min(create_time) FILTER (WHERE kind IN (1, 2)) AS sent
			FROM breach_deliveries WHERE breach_id = r.breach_id AND patient_id = r.patient_id
		) AS d ON true
		WHERE r.practice_id = $1 AND r.breach_id = $2`, practice, breach)
	if err != nil {
		return Reach{}, failed("count recipients", err)
	}
	return rows[0], nil
}

// Recipients returns at most limit patients of a breach by id, after the given one; uuid.Nil for the first.
func (s *Store) Recipients(ctx context.Context, practice, breach, after uuid.UUID, limit int) ([]uuid.UUID, error) {
	list, err := readAs(ctx, s.pool, practice, pgx.RowTo[uuid.UUID], `
		SELECT patient_id FROM breach_recipients
		WHERE practice_id = $1 AND breach_id = $2 AND patient_id > $3 ORDER BY patient_id LIMIT $4`, practice, breach, after, limit)
	return list, failed("list recipients", err)
}

// Delivery is what became of a patient's letter.
type Delivery struct {
	ID, Breach, Patient, Practice uuid.UUID // the id is a UUIDv7 and gives the order
	Kind                          int16
	User                          uuid.UUID
	Created                       time.Time
	Sealed                        string
}

const deliveryColumns = "delivery_id, breach_id, patient_id, practice_id, kind, user_id, create_time, sealed"

// Deliveries returns what became of the letters of some patients, patient after patient, oldest first.
func (s *Store) Deliveries(ctx context.Context, practice, breach uuid.UUID, patients []uuid.UUID) ([]Delivery, error) {
	ids := make([][16]byte, len(patients))
	for i, id := range patients {
		ids[i] = id
	}
	list, err := readAs(ctx, s.pool, practice, pgx.RowToStructByPos[Delivery], `
		SELECT `+deliveryColumns+` FROM breach_deliveries
		WHERE practice_id = $1 AND breach_id = $2 AND patient_id = ANY ($3) ORDER BY patient_id, delivery_id`, practice, breach, ids)
	return list, failed("list deliveries", err)
}

// AddDelivery stores a delivery; record makes its event durable before the commit.
func (s *Store) AddDelivery(ctx context.Context, d Delivery, record func(context.Context) error) error {
	return s.change(ctx, "add delivery", func(tx pgx.Tx) error {
		b := asPractice(d.Practice)
		b.Queue("INSERT INTO breach_deliveries ("+deliveryColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			d.ID, d.Breach, d.Patient, d.Practice, d.Kind, d.User, d.Created, d.Sealed)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return record(ctx)
	})
}
