// Package faults kills and cuts off parts of a running suite, and checks that
// nothing that was acknowledged is lost, nothing is double, and every resource
// that was returned has its audit entry.
package faults

import (
	"bytes"
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/tests/internal/people"
)

const (
	seed = 7
	// patience is how long a part may take to come back, on a machine that does much else.
	patience = 2 * time.Minute
	often    = 200 * time.Millisecond
)

// start runs a stack of the test's own, with its people.
func start(t *testing.T, more ...stack.Settings) (*stack.Stack, *people.People) {
	t.Helper()
	settings := stack.Settings{"auth": {"limits.requests_per_minute": 1_000_000}}
	for _, m := range more {
		maps.Copy(settings, m)
	}
	suite, err := stack.Start(t.Context(), stack.Options{
		// A kill must not lose what the disk was told, so fsync stays on.
		Durable:  true,
		Settings: settings,
	})
	require.NoError(t, err)
	t.Cleanup(suite.Close)
	users, err := people.Seed(t.Context(), suite.Place)
	require.NoError(t, err)
	return suite, users
}

func bundle(t *testing.T, first, patients int) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, generator.Bundle(&out, generator.Options{Seed: seed, First: first, Patients: patients}))
	return out.Bytes()
}

// delivered waits until no event is on its way any more.
func delivered(t *testing.T, suite *stack.Stack) {
	t.Helper()
	for _, service := range []string{"auth", "records", "backup"} {
		require.Eventually(t, func() bool {
			conn, err := suite.AdminDB(t.Context(), service)
			if err != nil {
				return false
			}
			defer conn.Close(context.Background()) //nolint:errcheck // only read from
			waiting := -1
			return conn.QueryRow(t.Context(), `SELECT count(*) FROM outbox`).Scan(&waiting) == nil && waiting == 0
		}, patience, often, "the outbox of %s does not drain", service)
	}
}

// entryOf is how the log names a resource: by patient, and by collection within the chart.
func entryOf(patient generator.Facts, r generator.Resource) string {
	collections := map[string]string{"DocumentReference": "notes", "MedicationRequest": "prescriptions", "Appointment": "appointments"}
	name := patient.ID.String() + " "
	switch collection, typed := collections[r.Type]; {
	case r.Type == "Patient":
		return name
	case typed:
		return name + collection + "/" + r.ID.String()
	}
	return name + r.Type + "/" + r.ID.String()
}

// logged counts the audit entries with outcome OK by action and resource.
func logged(t *testing.T, suite *stack.Stack) map[accessv1.Action]map[string]int {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "audit")
	require.NoError(t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // only read from
	rows, err := conn.Query(t.Context(), `SELECT event FROM entries`)
	require.NoError(t, err)
	defer rows.Close()
	counts := map[accessv1.Action]map[string]int{}
	for rows.Next() {
		var raw []byte
		require.NoError(t, rows.Scan(&raw))
		var event auditv1.Event
		require.NoError(t, proto.Unmarshal(raw, &event))
		if event.GetOutcome() != auditv1.Outcome_OUTCOME_OK || event.GetReason() == "UNCHANGED" {
			continue // an import that met what was there says so, once for each patient
		}
		if counts[event.GetAction()] == nil {
			counts[event.GetAction()] = map[string]int{}
		}
		counts[event.GetAction()][event.GetPatientId()+" "+event.GetResource()]++
	}
	require.NoError(t, rows.Err())
	return counts
}

// stored is what one document has in the tables: its version, and how many former ones.
type stored struct {
	version int64
	former  int
}

// documents lists everything that records holds, by "Type/id".
func documents(t *testing.T, suite *stack.Stack) map[string]stored {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // only read from
	rows, err := conn.Query(t.Context(), `
		SELECT type, id, version, (SELECT count(*) FROM document_history h
			WHERE (h.practice_id, h.type, h.id) = (d.practice_id, d.type, d.id))
		FROM documents d`)
	require.NoError(t, err)
	defer rows.Close()
	all := map[string]stored{}
	for rows.Next() {
		var kind string
		var id uuid.UUID
		var s stored
		require.NoError(t, rows.Scan(&kind, &id, &s.version, &s.former))
		name := kind + "/" + id.String()
		require.NotContains(t, all, name)
		all[name] = s
	}
	require.NoError(t, rows.Err())
	return all
}

// verify checks the whole log offline, as an auditor would.
func verify(t *testing.T, suite *stack.Stack) {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(suite.Checkpoints(), "*.key"))
	require.NoError(t, err)
	require.Len(t, keys, 1)
	file := filepath.Join(t.TempDir(), "log.jsonl")
	out, err := exec.CommandContext(t.Context(), suite.Binary("audit"), "export", "--config", suite.ConfigFile("audit"), "--out", file).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.CommandContext(t.Context(), suite.Binary("carekeep"), "audit", "verify", "--key", keys[0], "--checkpoints", suite.Checkpoints(), file).CombinedOutput()
	require.NoError(t, err, string(out))
}
