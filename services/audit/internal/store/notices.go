package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Notice is something that the service has to tell somebody by itself. There is one for each
// subject, reason and detail.
type Notice struct {
	ID        uuid.UUID // a UUIDv7, also the id of its event in the log
	Practice  uuid.UUID
	Subject   string // "incidents/{uuid}" or "breaches/{uuid}"
	Reason    string
	Detail    string
	Recipient string
	Risk      int16
	Due       time.Time
	Created   time.Time
}

const noticeColumns = "notice_id, practice_id, subject, reason, detail, recipient, risk, due_time, create_time"

func scanNotice(row pgx.CollectableRow) (Notice, error) {
	var n Notice
	err := row.Scan(&n.ID, &n.Practice, &n.Subject, &n.Reason, &n.Detail, &n.Recipient, &n.Risk, &n.Due, &n.Created)
	n.Due, n.Created = n.Due.UTC(), n.Created.UTC()
	return n, err
}

// AddNotices inserts notices of one practice; those that are there already stay as they are.
func (s *Store) AddNotices(ctx context.Context, notices []Notice) error {
	b := asPractice(notices[0].Practice)
	for _, n := range notices {
		b.Queue("INSERT INTO incident_notices ("+noticeColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
			n.ID, n.Practice, n.Subject, n.Reason, n.Detail, n.Recipient, n.Risk, n.Due, n.Created)
	}
	return failed("add notices", s.pool.SendBatch(ctx, b).Close())
}

// Notices returns the notices of a subject, oldest first.
func (s *Store) Notices(ctx context.Context, practice uuid.UUID, subject string) ([]Notice, error) {
	list, err := readAs(ctx, s.pool, practice, scanNotice,
		"SELECT "+noticeColumns+" FROM incident_notices WHERE practice_id = $1 AND subject = $2 ORDER BY create_time, notice_id", practice, subject)
	return list, failed("read notices", err)
}

// Unlogged returns the notices since a time, of all practices, that the log does not hold yet.
func (s *Store) Unlogged(ctx context.Context, since time.Time) ([]Notice, error) {
	rows, err := s.pool.Query(ctx, "SELECT "+noticeColumns+" FROM notices_since($1)", since)
	if err != nil {
		return nil, failed("read notices", err)
	}
	list, err := pgx.CollectRows(rows, scanNotice)
	if err != nil || len(list) == 0 {
		return nil, failed("read notices", err)
	}
	ids := make([]uuid.UUID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	known, err := KnownEvents(ctx, s.pool, ids)
	if err != nil {
		return nil, failed("look for notices", err)
	}
	var missing []Notice
	for _, n := range list {
		if !known[n.ID] {
			missing = append(missing, n)
		}
	}
	return missing, nil
}
