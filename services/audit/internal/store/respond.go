package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Response is something to be done about a detection.
type Response struct {
	Detection uuid.UUID
	Target    string // who does it; empty where there is nothing to do
	Action    string
	Tries     int       // including the one that is under way
	Ends      time.Time // when it is given up
}

// Answerable is a detection with the entry that made its rule fire.
type Answerable struct {
	Detection
	Event *auditv1.Event
}

// Respond is the queue of what is to be done about detections, over all practices.
type Respond struct{ pool *pgxpool.Pool }

// NewRespond returns the queue.
func NewRespond(pool *pgxpool.Pool) *Respond { return &Respond{pool: pool} }

const answerableColumns = `(x.detection).id, (x.detection).rule, (x.detection).practice_id, (x.detection).user_id, (x.detection).patient_id,
	(x.detection).session_id, (x.detection).device_id, (x.detection).address, (x.detection).risk, (x.detection).seq, (x.detection).first_seq,
	(x.detection).count, (x.detection).title, (x.detection).actions, (x.detection).create_time, x.event`

func scanAnswerable(row pgx.CollectableRow) (Answerable, error) {
	var a Answerable
	var raw []byte
	x := &a.Detection
	if err := row.Scan(&x.ID, &x.Rule, &x.Practice, &x.User, &x.Patient, &x.Session, &x.Device, &x.Address, &x.Risk, &x.Seq, &x.FirstSeq,
		&x.Count, &x.Title, &x.Actions, &x.Time, &raw); err != nil {
		return a, err
	}
	x.Time, a.Event = x.Time.UTC(), &auditv1.Event{}
	if err := proto.Unmarshal(raw, a.Event); err != nil {
		return a, fmt.Errorf("entry %d cannot be read: %w", x.Seq, err)
	}
	return a, nil
}

// Unanswered returns detections since a time for which nothing was planned, oldest first. It goes by what is
// missing and not by a place, so that none is passed over that was stored later than its time says.
func (r *Respond) Unanswered(ctx context.Context, since time.Time, most int) ([]Answerable, error) {
	rows, err := r.pool.Query(ctx, "SELECT "+answerableColumns+" FROM unanswered_detections($1, $2) x", since, most)
	if err != nil {
		return nil, fmt.Errorf("read detections: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanAnswerable)
	if err != nil {
		return nil, fmt.Errorf("read detections: %w", err)
	}
	return list, nil
}

// Plan stores what is to be done about one detection, all or nothing. What is there already stays.
func (r *Respond) Plan(ctx context.Context, due time.Time, list []Response) error {
	b := &pgx.Batch{}
	for _, x := range list {
		b.Queue(`INSERT INTO responses (detection_id, target, action, due, ends, done) VALUES ($1, $2, $3, $4, $5, CASE WHEN $2 = '' THEN $4::timestamptz END)
			ON CONFLICT DO NOTHING`, x.Detection, x.Target, x.Action, due, x.Ends)
	}
	if err := r.pool.SendBatch(ctx, b).Close(); err != nil { // a batch without BEGIN is one transaction
		return fmt.Errorf("plan responses: %w", err)
	}
	return nil
}

// Take hands out what is due at a target, oldest first, and puts each off until its next try: by first, then twice as
// long each time, at most by longest. Should this process die, it is tried then.
func (r *Respond) Take(ctx context.Context, target string, now time.Time, first, longest time.Duration, most int) ([]Response, map[uuid.UUID]Answerable, error) {
	rows, err := r.pool.Query(ctx, `
		UPDATE responses r SET tries = tries + 1, due = $2::timestamptz + least($4::interval, $3::interval * power(2, least(tries, 16)))
		WHERE (detection_id, target, action) IN (
			SELECT detection_id, target, action FROM responses WHERE target = $1 AND done IS NULL AND due <= $2
			ORDER BY due, detection_id, action LIMIT $5 FOR UPDATE SKIP LOCKED)
		RETURNING detection_id, target, action, tries, ends`, target, now, first, longest, most)
	if err != nil {
		return nil, nil, fmt.Errorf("take responses: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Response])
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	ids := make([]uuid.UUID, len(list))
	for i, x := range list {
		ids[i] = x.Detection
	}
	if rows, err = r.pool.Query(ctx, "SELECT "+answerableColumns+" FROM detections_of($1) x", ids); err != nil {
		return nil, nil, fmt.Errorf("read detections: %w", err)
	}
	about, err := pgx.CollectRows(rows, scanAnswerable)
	if err != nil {
		return nil, nil, fmt.Errorf("read detections: %w", err)
	}
	byID := make(map[uuid.UUID]Answerable, len(about))
	for _, a := range about {
		byID[a.ID] = a
	}
	return list, byID, nil
}

// Done ends a response, with a word on how.
func (r *Respond) Done(ctx context.Context, x Response, now time.Time, outcome string) error {
	_, err := r.pool.Exec(ctx, "UPDATE responses SET done = $4, outcome = $5 WHERE detection_id = $1 AND target = $2 AND action = $3 AND done IS NULL",
		x.Detection, x.Target, x.Action, now, outcome)
	if err != nil {
		return fmt.Errorf("end a response: %w", err)
	}
	return nil
}
