package e2e

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

// What keeps records and ends them is driven from the command line, and one person alone destroys nothing there.
func TestTheCommandLineKeepsAndEndsRecords(t *testing.T) {
	doctor := newCommandLine(t)
	doctor.signIn(seed.Smith)
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: populationOfKeeping, Patients: 1}))
	require.NoError(t, os.WriteFile(doctor.path("one.json"), bundle.Bytes(), 0o600))
	doctor.must("", "import", "one.json")
	patient := "patients/" + generator.Patient(populationOfKeeping, 0).ID.String()

	admin := newCommandLine(t)
	admin.signIn(seed.Admin)
	placed := admin.must("docket 24-1180\n", "holds", "place", "--patient", patient, "--reason", "litigation").out
	hold := regexp.MustCompile(`legalHolds/\S+`).FindString(placed)
	require.Regexp(t, hold+`  `+patient+`  litigation  \S+ \S+  -  +docket 24-1180\n`, admin.must("", "holds", "list").out)
	same := admin.run("", "holds", "release", hold)
	require.True(t, same.failed, "who placed a hold does not release it")

	require.Contains(t, admin.must("", "retention", "show", "--json").out, `"years":`)
	short := admin.run("", "retention", "set", "--years", "6")
	require.True(t, short.failed)
	require.Contains(t, short.err, "years")
	require.NotContains(t, admin.must("", "retention", "purge", "--dry-run").out, patient, "seen today")
	require.Contains(t, admin.run("y\n", "retention", "purge").err, "not done")

	asked := admin.must("", "erasures", "request", patient, "--ground", "objection").out
	erasure := regexp.MustCompile(`erasures/\S+`).FindString(asked)
	alone := admin.run(patient+"\n", "erasures", "decide", erasure, "--grant", "--certificate", "certificate")
	require.True(t, alone.failed, "who asked does not decide")
	require.NoFileExists(t, admin.path("certificate"))
	require.Regexp(t, erasure+`  `+patient+`  requested  GDPR Art\. 17\(1\)\(c\)`, admin.must("", "erasures", "show", erasure).out)

	require.Contains(t, admin.must("", "exit", "request").out, "requested, asked for")
	require.True(t, admin.run("", "exit", "approve", "--yes").failed, "who asked does not approve")
	require.True(t, admin.run("", "exit", "export", "--out", "all.ndjson", "--manifest", "manifest").failed, "it is not approved")
	require.NoFileExists(t, admin.path("all.ndjson"))
	require.Contains(t, admin.must("", "exit", "cancel").out, "cancelled")
	require.Contains(t, admin.must("", "certificate", "keys").out, "carekeep.records/certificates+")
}
