package app_test

import (
	"bytes"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/samples"
	"github.com/carekeep/carekeep/services/records/internal/index"
)

// leakage measures the practice's index, and returns what was found by index.
func (h *house) leakage() (*recordsv1.LeakageReport, map[string]*recordsv1.LeakageReport_Index) {
	h.t.Helper()
	report, err := h.index.MeasureLeakage(h.as(h.admin()), &recordsv1.MeasureLeakageRequest{})
	require.NoError(h.t, err)
	found := map[string]*recordsv1.LeakageReport_Index{}
	for _, x := range report.GetIndexes() {
		found[x.GetName()] = x
		h.t.Logf("%-24s %6d entries, %6d tokens, most frequent %3d (%.4f), budget %3d and %.4f", x.GetName(), x.GetEntries(), x.GetTokens(),
			x.GetMostFrequent(), float64(x.GetMostFrequent())/float64(x.GetEntries()), x.GetAllowed(), x.GetAllowedShare())
	}
	return report, found
}

// Whoever reads the tables without a key learns no more of any index than its budget,
// in a practice of a thousand generated patients and in one of the sample patients.
func TestLeakageStaysWithinTheBudget(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Imports.BatchEntries = 0 })
	doctor := h.doctor()
	h.withPhone(doctor, uuid.NewString(), 5000)
	h.rebuild(&recordsv1.RebuildSearchIndexRequest{Phonetics: new(true)})
	h.built(2)
	var bundle bytes.Buffer
	require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: 3, Patients: 1000}))
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, &bundle)
	require.NoError(t, err)
	require.Empty(t, got.problems)
	report, found := h.leakage()
	require.False(t, report.GetOverBudget())
	require.EqualValues(t, 2, report.GetGeneration())
	for _, x := range index.All() {
		if x != index.EmailAddress { // generated patients have none
			require.NotNil(t, found[x.Name], x.Name)
		}
	}
	require.GreaterOrEqual(t, found["phone"].GetTokens(), int64(1000))
	for range 11 {
		h.withPhone(doctor, uuid.NewString(), 5001)
	}
	events := h.since(func() { report, found = h.leakage() })
	require.True(t, report.GetOverBudget(), "a number that eleven share can be told by counting")
	require.True(t, found["phone"].GetOverBudget())
	require.EqualValues(t, 11, found["phone"].GetMostFrequent())
	require.False(t, found["identifier"].GetOverBudget())
	last := events[len(events)-1]
	require.Equal(t, "INDEX_OVER_BUDGET", last.GetReason())
	require.Equal(t, auditv1.Risk_RISK_HIGH, last.GetRisk())
}

func TestLeakageOfTheSamplePatients(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	for _, bundle := range samples.Bundles(t) {
		got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, bytes.NewReader(bundle))
		require.NoError(t, err)
		require.Empty(t, got.problems)
	}
	report, _ := h.leakage()
	require.False(t, report.GetOverBudget())
}
