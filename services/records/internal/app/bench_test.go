package app_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/intake"
)

// Import over mTLS, with seals, blind index and an audit event for every resource.
func BenchmarkImport(b *testing.B) {
	h := newHouse(b, func(s *settings) { s.Imports = intake.Limits{} })
	doctor := h.doctor()
	const patients = 400
	var seed int64
	resources := 0
	for b.Loop() {
		b.StopTimer()
		seed++
		var bundle bytes.Buffer
		require.NoError(b, generator.Bundle(&bundle, generator.Options{Seed: seed, Patients: patients}))
		b.SetBytes(int64(bundle.Len()))
		b.StartTimer()
		got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, &bundle)
		require.NoError(b, err)
		require.Empty(b, got.problems)
		resources += int(got.result.GetCreated())
	}
	b.ReportMetric(float64(resources)/b.Elapsed().Seconds(), "resources/s")
}

// Reads of one patient after another over mTLS, by 32 clients.
func BenchmarkRead(b *testing.B) {
	h := newHouse(b)
	doctor := h.doctor()
	var bundle bytes.Buffer
	require.NoError(b, generator.Bundle(&bundle, generator.Options{Seed: 1, Patients: 200}))
	_, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{}, &bundle)
	require.NoError(b, err)
	list, err := h.client.ListPatients(h.as(doctor), &recordsv1.ListPatientsRequest{PageSize: 200})
	require.NoError(b, err)
	names := list.GetPatients()
	ctx := h.as(doctor)
	started := time.Now()
	b.SetParallelism(16) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := int(uuid.New().ID()); pb.Next(); i++ {
			if time.Since(started) > 50*time.Second {
				b.Error("the caller token expires: run with a shorter -benchtime")
				return
			}
			if _, err := h.client.GetPatient(ctx, &recordsv1.GetPatientRequest{Name: names[i%len(names)].GetName()}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}
