package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The kinds and states of jobs.
const (
	JobRewrap  = "REWRAP"
	JobReseal  = "RESEAL"
	JobScrub   = "SCRUB"
	JobRunning = "RUNNING"
	JobDone    = "DONE"
	JobBroken  = "BROKEN"
)

// Job is work on the keys or the store of a practice.
type Job struct {
	Practice, ID        uuid.UUID
	Kind, State         string
	Key                 uuid.UUID // the data key that a RESEAL replaces
	Total, Done, Broken int64
	Place               Place
	Created, Updated    time.Time
}

// Place is how far a scrub has come.
type Place struct {
	Phase   int       `json:"phase,omitempty"`
	Patient uuid.UUID `json:"patient,omitzero"`
	Type    string    `json:"type,omitempty"`
	ID      uuid.UUID `json:"id,omitzero"`
	Version int64     `json:"version,omitempty"`
}

const jobColumns = `practice_id, job_id, kind, state, coalesce(key_id, '00000000-0000-0000-0000-000000000000'),
	total, done, broken, place, created_at, updated_at`

func scanJob(r pgx.Rows, j *Job) error {
	return r.Scan(&j.Practice, &j.ID, &j.Kind, &j.State, &j.Key, &j.Total, &j.Done, &j.Broken, &j.Place, &j.Created, &j.Updated)
}

// StartJob stores a new job, unless one like it runs; out is the one that runs.
func StartJob(b *pgx.Batch, j Job, out *Job) {
	queue(b, `INSERT INTO key_jobs (practice_id, job_id, kind, state, key_id, created_at, updated_at)
		VALUES ($1, $2, $3, 'RUNNING', nullif($4::uuid, '00000000-0000-0000-0000-000000000000'), $5, $5) ON CONFLICT DO NOTHING`,
		j.Practice, j.ID, j.Kind, j.Key, j.Created)
	var found bool
	one(b, &found, func(r pgx.Rows) error { return scanJob(r, out) }, `SELECT `+jobColumns+` FROM key_jobs
		WHERE practice_id = $1 AND kind = $2 AND state = 'RUNNING' AND coalesce(key_id, '00000000-0000-0000-0000-000000000000') = $3`,
		j.Practice, j.Kind, j.Key)
}

// SaveJob stores how far a job is, as long as it runs; one that gets on has not failed.
func SaveJob(b *pgx.Batch, j Job, now time.Time) {
	queue(b, `UPDATE key_jobs SET state = $3, total = $4, done = $5, broken = $6, place = $7, updated_at = $8,
			failures = 0, not_before = '-infinity'
		WHERE practice_id = $1 AND job_id = $2 AND state = 'RUNNING'`,
		j.Practice, j.ID, j.State, j.Total, j.Done, j.Broken, j.Place, now)
}

// ReadJob reads one job.
func ReadJob(b *pgx.Batch, practice, id uuid.UUID, out *Job, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanJob(r, out) },
		`SELECT `+jobColumns+` FROM key_jobs WHERE practice_id = $1 AND job_id = $2`, practice, id)
}

// ListJobs reads a practice's jobs, newest first, from before the job on; running restricts
// it to those that run. Ids of jobs sort by time.
func ListJobs(b *pgx.Batch, practice, before uuid.UUID, running bool, limit int, out *[]Job) {
	many(b, out, scanJob, `SELECT `+jobColumns+` FROM key_jobs
		WHERE practice_id = $1 AND job_id < $2 AND (NOT $3 OR state = 'RUNNING') ORDER BY job_id DESC LIMIT $4`,
		practice, before, running, limit)
}

// RunningJobs reads the jobs of any practice whose turn it is, those first that waited longest, for a unit of the
// nil practice.
func RunningJobs(b *pgx.Batch, now time.Time, limit int, out *[]Job) {
	many(b, out, scanJob, `SELECT `+jobColumns+` FROM key_jobs WHERE state = 'RUNNING' AND not_before <= $1 ORDER BY updated_at LIMIT $2`, now, limit)
}

// WaitJob notes that a job failed: it waits a second, and twice as long after each failure, up to an hour.
func WaitJob(b *pgx.Batch, j Job, now time.Time) {
	queue(b, `UPDATE key_jobs SET failures = failures + 1, not_before = $3::timestamptz + least(interval '1 hour', interval '1 second' * 2 ^ least(failures, 12)),
			updated_at = $3
		WHERE practice_id = $1 AND job_id = $2 AND state = 'RUNNING'`, j.Practice, j.ID, now)
}

// LastJob reads the newest job of a kind.
func LastJob(b *pgx.Batch, practice uuid.UUID, kind string, out *Job, found *bool) {
	one(b, found, func(r pgx.Rows) error { return scanJob(r, out) },
		`SELECT `+jobColumns+` FROM key_jobs WHERE practice_id = $1 AND kind = $2 ORDER BY job_id DESC LIMIT 1`, practice, kind)
}

// RetiredKeys reads data keys that were replaced and are there, and which no job has had to do with since a moment.
func RetiredKeys(b *pgx.Batch, practice uuid.UUID, since time.Time, limit int, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) }, `SELECT k.key_id FROM data_keys k
		WHERE k.practice_id = $1
		  AND NOT EXISTS (SELECT FROM patients p WHERE p.practice_id = $1 AND p.patient_id = k.patient_id AND p.key_id = k.key_id)
		  AND NOT EXISTS (SELECT FROM key_jobs j WHERE j.practice_id = $1 AND j.key_id = k.key_id AND (j.state = 'RUNNING' OR j.updated_at > $2))
		LIMIT $3`, practice, since, limit)
}

// Practices reads which practices there are, after the given one, for a unit of the nil practice.
func Practices(b *pgx.Batch, after uuid.UUID, limit int, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT practice_id FROM practices WHERE practice_id > $1 ORDER BY practice_id LIMIT $2`, after, limit)
}

// LastScrub reads when the practice's last scrub began, or the practice itself where there was none.
func LastScrub(b *pgx.Batch, practice uuid.UUID, out *time.Time) {
	var found bool
	*out = time.Time{}
	one(b, &found, func(r pgx.Rows) error { return r.Scan(out) }, `SELECT max(created_at) FROM (
		SELECT created_at FROM key_jobs WHERE practice_id = $1 AND kind = 'SCRUB'
		UNION ALL SELECT created_at FROM practices WHERE practice_id = $1) t HAVING count(*) > 0`, practice)
}
