package demo

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/stack"
)

// TestDH03_LeaksAreFoundWhereTheyLie leaves plaintexts behind on a real stack and
// expects the search to say what lies where.
func TestDH03_LeaksAreFoundWhereTheyLie(t *testing.T) {
	t.Parallel()
	place := stack.ForTest(t, stack.Options{}).Place
	s := &story{Options: Options{Place: place}}
	var err error
	s.chart, err = protagonist(fromGenerator())
	require.NoError(t, err)

	evidence, err := s.searchPlaintexts(t.Context())
	require.NoError(t, err)
	require.Contains(t, evidence, "write-ahead log: 0 hits")

	log := filepath.Join(place.Logs(), "records.log")
	file, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(base64.StdEncoding.EncodeToString([]byte("number " + s.chart.ssn + "\n")))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, run(t.Context(), place, "CREATE TABLE leak AS SELECT convert_to('"+s.chart.patient.Name[0].Family+"', 'UTF8') AS bytes", "CHECKPOINT"))

	_, err = s.searchPlaintexts(t.Context())
	require.ErrorContains(t, err, "social security number (base64 at")
	require.ErrorContains(t, err, "in "+log)
	require.ErrorContains(t, err, "family name (hexadecimal) in rows of postgres.public.leak")
	require.ErrorContains(t, err, "family name (plain) in "+place.PostgresData)
	require.NoFileExists(t, filepath.Join(place.Logs(), plantedFile), "the canary is gone again")
}
