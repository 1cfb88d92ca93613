package faults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	localseed "github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const (
	resealed  = 160 // conditions of the patient whose key is replaced
	rewrapped = 520 // patients with a key each: more than one batch of a rewrap
)

// tables reads and holds records' tables as the superuser.
type tables struct {
	t *testing.T
	*pgx.Conn
}

func tablesOf(t *testing.T, suite *stack.Stack) tables {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return tables{t, conn}
}

func (d tables) count(query string, args ...any) (n int) {
	d.t.Helper()
	require.NoError(d.t, d.QueryRow(d.t.Context(), "SELECT count(*) "+query, args...).Scan(&n))
	return n
}

func (d tables) run(statement string, args ...any) {
	d.t.Helper()
	_, err := d.Exec(d.t.Context(), statement, args...)
	require.NoError(d.t, err)
}

// killed kills records while it waits for a row that this connection holds: in the middle of the transaction that
// work begins, after whatever that did before.
func (d tables) killed(suite *stack.Stack, row string, work func()) {
	d.t.Helper()
	tx, err := d.Begin(d.t.Context())
	require.NoError(d.t, err)
	_, err = tx.Exec(d.t.Context(), row)
	require.NoError(d.t, err)
	done := make(chan struct{})
	go func() { defer close(done); work() }()
	require.Eventually(d.t, func() bool {
		return d.count("FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))") > 0
	}, patience, often, "nothing waits for the row")
	suite.Kill("records")
	require.NoError(d.t, tx.Rollback(d.t.Context()))
	<-done
	require.NoError(d.t, suite.WaitReady(d.t.Context()))
}

func imports(t *testing.T, who *api.Client, resources []string) {
	t.Helper()
	content := `{"resourceType":"Bundle","type":"collection","entry":[{"resource":` + strings.Join(resources, `},{"resource":`) + `}]}`
	done, err := who.Import(t.Context(), strings.NewReader(content), "", nil)
	require.NoError(t, err)
	require.Empty(t, done.Problems)
}

// ends waits for a job of the keys to end well, asking again while records is away.
func ends(t *testing.T, admin *api.Client, job *recordsv1.KeyJob) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := admin.Call(t.Context(), http.MethodGet, "/v1/"+job.GetName(), nil, job)
		return err == nil && job.GetState() != recordsv1.KeyJob_STATE_RUNNING
	}, patience, often)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState())
}

// records dies by SIGKILL in a re-encryption, in a rewrap and in an erasure. The jobs go on by themselves when it is
// back and end with everything under the new key and version; the erasure did nothing, and destroys all when it is decided
// again. In the end everything that is left opens.
func TestDH54_DH46_KillingRecordsInALifecycleJobLosesNothing(t *testing.T) {
	suite, users := start(t, stack.Settings{"records": {"upkeep.reseal_per_second": 80, "upkeep.poll_seconds": 1}})
	doctor, err := users.As(t.Context(), localseed.Smith)
	require.NoError(t, err)
	admin, err := users.As(t.Context(), localseed.Admin)
	require.NoError(t, err)
	db := tablesOf(t, suite)

	patient := uuid.NewString()
	resources := []string{`{"resourceType":"Patient","id":"` + patient + `"}`}
	for range resealed {
		resources = append(resources, `{"resourceType":"Condition","id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+patient+`"}}`)
	}
	for range rewrapped - 1 {
		resources = append(resources, `{"resourceType":"Patient","id":"`+uuid.NewString()+`"}`)
	}
	imports(t, doctor, resources)
	contents := func() (all string) {
		require.NoError(t, db.QueryRow(t.Context(),
			"SELECT md5(string_agg(concat(type, id, patient_id, version, digest), '' ORDER BY type, id)) FROM documents").Scan(&all))
		return all
	}
	was := contents()

	var old uuid.UUID
	require.NoError(t, db.QueryRow(t.Context(), "SELECT key_id FROM patients WHERE patient_id = $1", patient).Scan(&old))
	var job recordsv1.KeyJob
	require.NoError(t, admin.Call(t.Context(), http.MethodPost, "/v1/keys:rotateDataKey", &recordsv1.RotateDataKeyRequest{Patient: "patients/" + patient}, &job))
	moved := func() int { return db.count("FROM documents WHERE patient_id = $1 AND key_id <> $2", patient, old) }
	for kills, at := 0, 0; kills < 2; kills++ {
		require.Eventually(t, func() bool { return moved() > at }, patience, often/4)
		suite.Kill("records")
		at = moved()
		require.Less(t, at, resealed, "it was killed in the middle")
		require.NoError(t, suite.WaitReady(t.Context()))
	}
	ends(t, admin, &job)
	assert.Zero(t, db.count("FROM data_keys WHERE key_id = $1", old), "the old key is dropped")
	assert.Equal(t, was, contents())

	// The rewrap waits for the last key, so its first batch is stored and the second is not.
	last := "SELECT FROM data_keys WHERE key_id = (SELECT key_id FROM data_keys ORDER BY key_id DESC LIMIT 1) FOR UPDATE"
	db.killed(suite, last, func() {
		assert.NoError(t, admin.Call(t.Context(), http.MethodPost, "/v1/keys:rotate", &recordsv1.RotatePracticeKeyRequest{}, &job))
	})
	ends(t, admin, &job)
	assert.Zero(t, db.count("FROM data_keys WHERE wrapped NOT LIKE 'vault:v2:%'"))
	assert.Zero(t, db.count("FROM practice_keys WHERE wrapped NOT LIKE 'vault:v2:%'"))

	erasing(t, suite, admin, db, patient)
	require.NoError(t, admin.Call(t.Context(), http.MethodPost, "/v1/keys:scrub", &recordsv1.ScrubStoreRequest{}, &job))
	ends(t, admin, &job) // a document that does not open would end it as broken
	delivered(t, suite)
	verify(t, suite)
}

func erasing(t *testing.T, suite *stack.Stack, admin *api.Client, db tables, patient string) {
	t.Helper()
	db.run("SET session_replication_role = replica") // triggers keep versions and times
	for _, table := range []string{"documents", "document_history"} {
		db.run("UPDATE "+table+" SET created_at = '2001-02-03', updated_at = '2001-02-03' WHERE patient_id = $1", patient)
	}
	db.run("UPDATE patients SET created_at = '2001-02-03' WHERE patient_id = $1", patient)
	db.run("SET session_replication_role = DEFAULT")
	var erasure recordsv1.Erasure
	require.NoError(t, admin.Call(t.Context(), http.MethodPost, "/v1/erasures", &recordsv1.RequestErasureRequest{
		Patient: "patients/" + patient, Ground: recordsv1.ErasureGround_ERASURE_GROUND_CONSENT_WITHDRAWN,
	}, &erasure))
	db.run("UPDATE erasures SET requested_by = gen_random_uuid()") // this practice has one administrator
	decide := func() error {
		return admin.Call(t.Context(), http.MethodPost, "/v1/"+erasure.GetName()+":decide", &recordsv1.DecideErasureRequest{
			Decision: &recordsv1.DecideErasureRequest_Grant{Grant: true},
		}, &erasure)
	}
	left := func() (all []string) {
		for _, table := range []string{"patients", "documents", "document_history", "data_keys", "resource_index", "care_team"} {
			all = append(all, fmt.Sprintf("%s %d", table, db.count("FROM "+table+" WHERE patient_id = $1", patient)))
		}
		return all
	}
	before := left()
	db.killed(suite, "SELECT FROM documents WHERE patient_id = '"+patient+"' FOR UPDATE", func() {
		assert.Error(t, decide(), "nobody was there to say that it is done")
	})
	assert.Equal(t, before, left(), "all of it is there, or nothing")
	assert.Zero(t, db.count("FROM erasures WHERE certificate <> ''"))
	require.Eventually(t, func() bool { return decide() == nil }, patience, often)
	assert.NotEmpty(t, erasure.GetCertificate())
	for _, is := range left() {
		assert.True(t, strings.HasSuffix(is, " 0"), is)
	}
}
