package faults

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	localseed "github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

const exported = 30 // patients of the export

// records dies by SIGKILL between the kick-off and the plan, between questions, and under
// two downloads. The client only asks again, and in the end has every resource once, each patient
// with an entry in the log.
func TestDH16_KillingRecordsDuringAnExportLosesNothing(t *testing.T) {
	suite, users := start(t, stack.Settings{"records": {"fhir.export.file_resources": 40, "fhir.export.scan_resources": 50}})
	doctor, err := users.As(t.Context(), localseed.Smith)
	require.NoError(t, err)
	_, err = doctor.Import(t.Context(), bytes.NewReader(bundle(t, 0, exported)), "", nil)
	require.NoError(t, err)

	begun, err := doctor.Preferring("respond-async").FHIR(t.Context(), http.MethodGet, "/Patient/$export", nil, "")
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, begun.Status, "%s", begun.Body)
	at := strings.TrimPrefix(begun.Header.Get("Content-Location"), suite.URL()+"/fhir/R4")
	suite.Kill("records")
	settled(t, suite)

	whole := ask(t, doctor, at)
	var got []string
	for i, url := range gjson.GetBytes(whole, "output.#.url").Array() {
		if i < 2 {
			go suite.Kill("records")
		}
		content := ask(t, doctor, strings.TrimPrefix(url.String(), suite.URL()+"/fhir/R4"))
		for line := range bytes.Lines(content) {
			require.True(t, gjson.ValidBytes(line), "a line is cut")
			got = append(got, gjson.GetBytes(line, "resourceType").String()+"/"+gjson.GetBytes(line, "id").String())
		}
	}
	var want []string
	for i := range exported {
		for _, r := range generator.Resources(generator.Patient(seed, i)) {
			want = append(want, r.Type+"/"+r.ID.String())
		}
	}
	assert.ElementsMatch(t, want, got)

	require.NoError(t, suite.WaitReady(t.Context()))
	delivered(t, suite)
	verify(t, suite)
	entries := logged(t, suite)[accessv1.Action_ACTION_EXPORT]
	for i := range exported {
		patient := generator.Patient(seed, i).ID.String()
		assert.Positive(t, entries[patient+" fhirExports/"+strings.TrimPrefix(at, "/$export/")], "patient %d", i)
	}
}

// settled lets the moment of every export have settled.
func settled(t *testing.T, suite *stack.Stack) {
	t.Helper()
	conn, err := suite.AdminDB(t.Context(), "records")
	require.NoError(t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // nothing is left to do
	done, err := conn.Exec(t.Context(), "UPDATE fhir_exports SET ready_at = created_at")
	require.NoError(t, err)
	require.EqualValues(t, 1, done.RowsAffected())
}

// ask asks until there is an answer, as a client of bulk exports does.
func ask(t *testing.T, doctor *api.Client, path string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		answer, err := doctor.FHIR(ctx, http.MethodGet, path, nil, "")
		switch {
		case err == nil && answer.Status == http.StatusOK:
			return answer.Body
		case err == nil && answer.Status < 500 && answer.Status != http.StatusAccepted:
			require.Fail(t, "refused", "%d %s", answer.Status, answer.Body)
		}
		select {
		case <-ctx.Done():
			require.Fail(t, "no answer")
		case <-time.After(often):
		}
	}
}
