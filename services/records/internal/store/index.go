package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// IndexEntry is one token under which a document is to be found.
type IndexEntry struct {
	Generation int32
	Index      int16
	Token      []byte
}

// Entry is a document and its index entries.
type Entry struct {
	Document Document
	Index    []IndexEntry
}

// States of a generation of the index.
const (
	GenerationBuilding = "BUILDING"
	GenerationLive     = "LIVE"
	GenerationDropping = "DROPPING"
)

// Generation is one generation of a practice's index.
type Generation struct {
	Number    int32
	State     string
	Format    int
	Region    string
	Phonetics bool
	Key       uuid.UUID // its own, nil where it has none
	At        Ref       // the document that the build has come to
	Done      int64
	Broken    int64
	Total     int64
	Created   time.Time
	Live      time.Time // zero before
}

// lockKey is the advisory lock of a practice's generations: who writes entries
// holds it shared until the commit, who adds or switches generations alone. So no writer
// misses a generation that was there when it committed.
const lockKey = `hashtextextended('carekeep.index/' || $1::uuid::text, 0)`

// ReadGenerations reads a practice's generations, the oldest first.
func ReadGenerations(b *pgx.Batch, practice uuid.UUID, out *[]Generation) {
	many(b, out, func(r pgx.Rows, g *Generation) error {
		var key *uuid.UUID
		var live *time.Time
		err := r.Scan(&g.Number, &g.State, &g.Format, &g.Region, &g.Phonetics, &key, &g.At.Type, &g.At.ID,
			&g.Done, &g.Broken, &g.Total, &g.Created, &live)
		if key != nil {
			g.Key = *key
		}
		if live != nil {
			g.Live = *live
		}
		return err
	}, `SELECT generation, state, format, region, phonetics, key_id, at_type, at_id, done, broken, total, created_at, live_at
		FROM index_generations WHERE practice_id = $1 ORDER BY generation`, practice)
}

// ReadIndexKey reads the wrapped key of a generation.
func ReadIndexKey(b *pgx.Batch, practice, key uuid.UUID, wrapped *string, found *bool) {
	one(b, found, func(r pgx.Rows) error { return r.Scan(wrapped) },
		`SELECT wrapped FROM index_generations WHERE practice_id = $1 AND key_id = $2`, practice, key)
}

// UnfinishedIndexes reads the practices whose index is built or dropped. It is for the nil practice, as whom the schedule reads.
func UnfinishedIndexes(b *pgx.Batch, limit int, out *[]uuid.UUID) {
	many(b, out, func(r pgx.Rows, id *uuid.UUID) error { return r.Scan(id) },
		`SELECT DISTINCT practice_id FROM index_generations WHERE state <> 'LIVE' LIMIT $1`, limit)
}

// IndexCount is what can be counted of an index in one generation.
type IndexCount struct {
	Index                         int16
	Entries, Tokens, MostFrequent int64
}

// CountIndex counts the entries and tokens of a generation, by index.
func CountIndex(b *pgx.Batch, practice uuid.UUID, generation int32, out *[]IndexCount) {
	many(b, out, func(r pgx.Rows, c *IndexCount) error { return r.Scan(&c.Index, &c.Entries, &c.Tokens, &c.MostFrequent) },
		`SELECT index_id, sum(n)::bigint, count(*), max(n) FROM (
			SELECT token, index_id, count(*) AS n FROM resource_index WHERE practice_id = $1 AND generation = $2 GROUP BY 1, 2) t
		GROUP BY 1 ORDER BY 1`, practice, generation)
}

// HoldGenerations keeps the generations as they are until the transaction ends, and
// reads them. The lock is a statement of its own: the read sees what was committed before it was had.
func HoldGenerations(b *pgx.Batch, practice uuid.UUID, out *[]Generation) {
	queue(b, `SELECT pg_advisory_xact_lock_shared(`+lockKey+`)`, practice)
	ReadGenerations(b, practice, out)
}

// LockGenerations waits for all who hold the generations, and keeps others out.
func LockGenerations(b *pgx.Batch, practice uuid.UUID) {
	queue(b, `SELECT pg_advisory_xact_lock(`+lockKey+`)`, practice)
}

// AddGeneration adds a generation, unless one of the number is there or another is being built. A key with the nil id is none.
func AddGeneration(b *pgx.Batch, practice uuid.UUID, g Generation, own NewKey, types []string, done *bool) {
	var key *uuid.UUID
	var wrapped *string
	if own.ID != uuid.Nil {
		key, wrapped = &own.ID, &own.Wrapped
	}
	var live *time.Time
	if g.State == GenerationLive {
		live = &g.Created
	}
	changed(b, done, `INSERT INTO index_generations (practice_id, generation, state, format, region, phonetics, key_id, wrapped, created_at, live_at, total)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, (SELECT count(*) FROM documents WHERE practice_id = $1 AND type = ANY($11) AND NOT deleted)
		ON CONFLICT DO NOTHING RETURNING 1`,
		practice, g.Number, g.State, g.Format, g.Region, g.Phonetics, key, wrapped, g.Created, live, types)
}

// indexed is true where the document of t (id, version, digest, type, patient) is the stored one.
const indexed = ` unnest($2::text[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bytea[]) AS t(type, id, patient_id, version, digest)
	JOIN documents d ON d.practice_id = $1 AND d.type = t.type AND d.id = t.id AND d.patient_id = t.patient_id
		AND d.version = t.version AND d.digest = t.digest AND NOT d.deleted`

const entriesWanted = ` unnest($7::integer[], $8::integer[], $9::smallint[], $10::bytea[]) AS w(n, generation, index_id, token)`

// entryArgs are the arguments of statements that use indexed and entriesWanted; n
// numbers the documents from 1.
func entryArgs(practice uuid.UUID, entries []Entry) []any {
	n := len(entries)
	types, ids, patients := make([]string, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	versions, digests := make([]int64, n), make([][]byte, n)
	numbers, generations, indexes, tokens := []int32{}, []int32{}, []int16{}, [][]byte{}
	for i, e := range entries {
		d := e.Document
		types[i], ids[i], patients[i], versions[i], digests[i] = d.Type, d.ID, d.Patient, d.Version, d.Digest
		for _, x := range e.Index {
			numbers, generations = append(numbers, int32(i+1)), append(generations, x.Generation)
			indexes, tokens = append(indexes, x.Index), append(tokens, x.Token)
		}
	}
	return []any{practice, types, ids, patients, versions, digests, numbers, generations, indexes, tokens}
}

// Reindex makes the entries those of their documents, where the document is the
// stored one: a statement before it in the transaction has stored it.
func Reindex(b *pgx.Batch, practice uuid.UUID, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	args := entryArgs(practice, entries)
	fresh := true
	for _, e := range entries {
		fresh = fresh && e.Document.Version == 1
	}
	if !fresh {
		queue(b, `DELETE FROM resource_index i USING (SELECT t.* FROM`+indexed+`) t
			WHERE i.practice_id = $1 AND i.patient_id = t.patient_id AND i.type = t.type AND i.id = t.id AND NOT EXISTS (
				SELECT FROM`+entriesWanted+` WHERE ($2::text[])[w.n] = i.type AND ($3::uuid[])[w.n] = i.id
					AND w.generation = i.generation AND w.token = i.token AND w.index_id = i.index_id)`, args...)
	}
	queue(b, `INSERT INTO resource_index (practice_id, generation, token, type, id, patient_id, index_id)
		SELECT $1, w.generation, w.token, d.type, d.id, d.patient_id, w.index_id FROM`+entriesWanted+`
		JOIN (SELECT d.type, d.id, d.patient_id FROM`+indexed+`) d ON d.type = ($2::text[])[w.n] AND d.id = ($3::uuid[])[w.n]
		ON CONFLICT DO NOTHING`, args...)
}

// Unindex takes a document out of the index if it is deleted.
func Unindex(b *pgx.Batch, practice uuid.UUID, resourceType string, id, patient uuid.UUID) {
	queue(b, `DELETE FROM resource_index WHERE practice_id = $1 AND patient_id = $4 AND type = $2 AND id = $3
		AND EXISTS (SELECT FROM documents WHERE practice_id = $1 AND type = $2 AND id = $3 AND deleted)`,
		practice, resourceType, id, patient)
}

// ReadIndex reads the index entries of a document.
func ReadIndex(b *pgx.Batch, practice uuid.UUID, resourceType string, id, patient uuid.UUID, out *[]IndexEntry) {
	many(b, out, func(r pgx.Rows, e *IndexEntry) error { return r.Scan(&e.Generation, &e.Index, &e.Token) },
		`SELECT generation, index_id, token FROM resource_index WHERE practice_id = $1 AND patient_id = $4 AND type = $2 AND id = $3`,
		practice, resourceType, id, patient)
}
