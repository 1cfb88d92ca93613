package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Detection is a rule that fired. Ids that are not known are uuid.Nil.
type Detection struct {
	ID                                       uuid.UUID
	Rule                                     string
	Practice, User, Patient, Session, Device uuid.UUID
	Address                                  string
	Risk                                     int16
	Seq, FirstSeq                            int64
	Count                                    int32
	Title                                    string
	Actions                                  []string
	Time                                     time.Time
}

// Logged is an entry as detection reads it.
type Logged struct {
	Seq        int64
	AppendTime time.Time
	Event      *auditv1.Event
}

// Fired is an entry that made a rule fire.
type Fired struct {
	Rule string
	Logged
}

// ErrCursor says that another process has moved the cursor of detection meanwhile.
var ErrCursor = errors.New("another process has gone on with detection")

// Detect is what detection reads and writes, over all practices.
type Detect struct{ pool *pgxpool.Pool }

// NewDetect returns the store of detection.
func NewDetect(pool *pgxpool.Pool) *Detect { return &Detect{pool: pool} }

// Cursor is the number of the entry that detection comes to next, and the digest of the rules that it
// used last; empty where it never did.
func (d *Detect) Cursor(ctx context.Context) (seq int64, rules string, err error) {
	if err := d.pool.QueryRow(ctx, "SELECT seq, rules FROM detection_cursor").Scan(&seq, &rules); err != nil {
		return 0, "", fmt.Errorf("read the cursor of detection: %w", err)
	}
	return seq, rules, nil
}

// UseRules notes the digest of the rules that are used from now on.
func (d *Detect) UseRules(ctx context.Context, digest string) error {
	if _, err := d.pool.Exec(ctx, "UPDATE detection_cursor SET rules = $1", digest); err != nil {
		return fmt.Errorf("note the rules of detection: %w", err)
	}
	return nil
}

// Entries returns the entries [from, to), as far as there are any, in order. Where retention has
// dropped those, it goes on with the first that are left.
func (d *Detect) Entries(ctx context.Context, from, to int64) ([]Logged, error) {
	entries, err := d.entries(ctx, from, to)
	if err != nil || len(entries) > 0 {
		return entries, err
	}
	var next *int64
	if err := d.pool.QueryRow(ctx, "SELECT next_entry($1)", from).Scan(&next); err != nil {
		return nil, fmt.Errorf("look for the next entry: %w", err)
	}
	if next == nil {
		return nil, nil
	}
	return d.entries(ctx, *next, *next+to-from)
}

func (d *Detect) entries(ctx context.Context, from, to int64) ([]Logged, error) {
	rows, err := d.pool.Query(ctx, "SELECT seq, append_time, event FROM detect_entries($1, $2)", from, to)
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	entries, err := pgx.CollectRows(rows, scanLogged)
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	return entries, nil
}

func scanLogged(row pgx.CollectableRow) (Logged, error) {
	var raw []byte
	l := Logged{Event: &auditv1.Event{}}
	if err := row.Scan(&l.Seq, &l.AppendTime, &raw); err != nil {
		return l, err
	}
	l.AppendTime = l.AppendTime.UTC()
	// Intake took only what can be read; whatever a superuser made of it since is for the verifier to tell.
	if proto.Unmarshal(raw, l.Event) != nil {
		l.Event = &auditv1.Event{}
	}
	return l, nil
}

// SeqAt is the number of the first entry that was appended at a time or later; where there is none,
// one that no entry has yet.
func (d *Detect) SeqAt(ctx context.Context, at time.Time) (int64, error) {
	var seq int64
	err := d.pool.QueryRow(ctx, "SELECT size_at($1)", at).Scan(&seq)
	if err != nil {
		return 0, fmt.Errorf("find where %s begins in the log: %w", at.Format(time.RFC3339), err)
	}
	return seq, nil
}

// Since is what fired since a time, by entry.
func (d *Detect) Since(ctx context.Context, since time.Time) ([]Fired, error) {
	rows, err := d.pool.Query(ctx, "SELECT rule, seq, append_time, event FROM detected_since($1)", since)
	if err != nil {
		return nil, fmt.Errorf("read detections: %w", err)
	}
	fired, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Fired, error) {
		var f Fired
		var raw []byte
		f.Event = &auditv1.Event{}
		if err := row.Scan(&f.Rule, &f.Seq, &f.AppendTime, &raw); err != nil {
			return f, err
		}
		f.AppendTime = f.AppendTime.UTC()
		return f, proto.Unmarshal(raw, f.Event)
	})
	if err != nil {
		return nil, fmt.Errorf("read detections: %w", err)
	}
	return fired, nil
}

// Advance stores detections and moves the cursor, all or nothing. What is
// stored already, by a process that died after it, is left as it is.
func (d *Detect) Advance(ctx context.Context, from, to int64, found []Detection) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		moved := false
		b.Queue("UPDATE detection_cursor SET seq = $2 WHERE seq = $1 RETURNING true", from, to).Query(func(rows pgx.Rows) error {
			moved = rows.Next()
			rows.Close()
			return rows.Err()
		})
		for _, x := range found {
			b.Queue(`
				INSERT INTO detections (id, rule, practice_id, user_id, patient_id, session_id, device_id, address, risk, seq, first_seq, count, title, actions, create_time)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING`,
				x.ID, x.Rule, x.Practice, x.User, x.Patient, x.Session, x.Device, x.Address, x.Risk, x.Seq, x.FirstSeq, x.Count, x.Title, x.Actions, x.Time)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("store detections: %w", err)
		}
		if !moved {
			return ErrCursor
		}
		return nil
	})
}

// DetectionKey is a detection's place in a list, newest first.
type DetectionKey struct {
	Time time.Time
	ID   uuid.UUID
}

// Detections returns at most limit detections of a practice, newest first, that come after the given
// one; the zero key starts at the newest. An empty rule and uuid.Nil match everything.
func (s *Store) Detections(ctx context.Context, practice uuid.UUID, rule string, user uuid.UUID, after DetectionKey, limit int) ([]Detection, error) {
	var before *time.Time
	if !after.Time.IsZero() {
		before = &after.Time
	}
	rows, err := readAs(ctx, s.pool, practice, scanDetection, `
		SELECT id, rule, practice_id, user_id, patient_id, session_id, device_id, address, risk, seq, first_seq, count, title, actions, create_time
		FROM detections
		WHERE practice_id = $1 AND ($2 = '' OR rule = $2) AND ($3 = '00000000-0000-0000-0000-000000000000'::uuid OR user_id = $3)
			AND ($4::timestamptz IS NULL OR (create_time, id) < ($4, $5))
		ORDER BY create_time DESC, id DESC LIMIT $6`, practice, rule, user, before, after.ID, limit)
	return rows, failed("list detections", err)
}

func scanDetection(row pgx.CollectableRow) (Detection, error) {
	var x Detection
	err := row.Scan(&x.ID, &x.Rule, &x.Practice, &x.User, &x.Patient, &x.Session, &x.Device, &x.Address, &x.Risk, &x.Seq, &x.FirstSeq, &x.Count, &x.Title, &x.Actions, &x.Time)
	x.Time = x.Time.UTC()
	return x, err
}

// History returns at most limit entries of a practice from a number on, oldest first.
func (s *Store) History(ctx context.Context, practice uuid.UUID, from int64, limit int) ([]Logged, error) {
	rows, err := readAs(ctx, s.pool, practice, scanLogged,
		"SELECT seq, append_time, event FROM entries WHERE practice_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3", practice, from, limit)
	return rows, failed("read entries", err)
}
