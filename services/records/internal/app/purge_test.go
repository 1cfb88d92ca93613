package app_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/app"
)

// due are the events that say how many patients are due.
func due(events []*auditv1.Event) (counts []int32) {
	for _, e := range events {
		if e.GetReason() == "RETENTION_DUE" {
			counts = append(counts, e.GetCount())
		}
	}
	return counts
}

// Once a day what is due is counted, and nothing goes. Where the practice says so exactly the due patients go, but not one
// under a hold; a purge that is killed goes on the next day.
func TestPurgeOfWhatIsDueRunsDaily(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	defer l.idle()() // only this test purges
	doctor := l.doctor()
	old := []file{l.file(doctor), l.file(doctor), l.file(doctor)}
	slices.SortFunc(old, func(a, b file) int { return slices.Compare([]byte(a.patient), []byte(b.patient)) }) // as they are purged
	held, fresh := l.file(doctor), l.file(doctor)
	for _, f := range append(slices.Clone(old), held) {
		l.aged(f.patient, longAgo)
	}
	l.place(l.first, held.patient)
	run := func(ctx context.Context) (err error) { return app.PurgeDue(l.app, ctx, l.practice) }
	whole := func(list ...file) {
		t.Helper()
		for _, f := range list {
			require.Equal(t, int64(4), l.left(f.patient)["documents"])
		}
	}
	gone := func(list ...file) {
		t.Helper()
		for _, f := range list {
			require.Equal(t, map[string]int64{"erasures": 1}, l.left(f.patient))
		}
	}

	events := l.since(func() { require.NoError(t, run(t.Context())) })
	require.Equal(t, []int32{3}, due(events))
	for _, e := range events {
		require.Empty(t, e.GetPatientId())
		require.Equal(t, l.practice.String(), e.GetPracticeId())
	}
	require.Empty(t, l.since(func() { require.NoError(t, run(t.Context())) }), "once a day")
	l.pass(25 * time.Hour)
	require.Equal(t, []int32{3}, due(l.since(func() { require.NoError(t, run(t.Context())) })))
	whole(append(old, held, fresh)...)

	events = l.since(func() {
		r, err := l.client.UpdateRetention(l.as(l.first), &recordsv1.UpdateRetentionRequest{Years: 7, AutomaticPurge: true})
		require.NoError(t, err)
		require.True(t, r.GetAutomaticPurge())
	})
	require.Equal(t, "PURGE_AUTOMATIC", events[len(events)-1].GetReason())
	r, err := l.client.GetRetention(l.as(l.first), &recordsv1.GetRetentionRequest{})
	require.NoError(t, err)
	require.True(t, r.GetAutomaticPurge())

	// Killed at the second patient.
	l.pass(25 * time.Hour)
	lock, err := l.db.AdminConn(t.Context(), l.database)
	require.NoError(t, err)
	defer func() { _ = lock.Close(context.Background()) }()
	for _, statement := range []string{"BEGIN", "SELECT FROM patients WHERE patient_id = '" + old[1].patientID + "' FOR UPDATE"} {
		_, err = lock.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	ctx, kill := cancelable(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	require.Eventually(t, func() bool {
		return len(l.sql("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")) > 0
	}, patience, tick)
	kill()
	require.Error(t, <-done)
	_, err = lock.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	gone(old[0])
	whole(old[1], old[2], held, fresh)
	require.NoError(t, run(t.Context()))
	whole(old[1], old[2])
	l.pass(25 * time.Hour)
	events = l.since(func() { require.NoError(t, run(t.Context())) })
	require.Equal(t, []int32{2}, due(events))
	require.Len(t, l.erasures(events), 2, "one event with its certificate for each")
	gone(old...)
	whole(held, fresh)
	require.Equal(t, [][]any{{l.first.User.String()}}, l.sql("SELECT DISTINCT decided_by::text FROM erasures"), "who decided so")
}

// The service does it by itself.
func TestPurgeOfWhatIsDueIsScheduled(t *testing.T) {
	t.Parallel()
	l := newLife(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	f := l.file(l.doctor())
	l.aged(f.patient, longAgo)
	_, err := l.client.UpdateRetention(l.as(l.first), &recordsv1.UpdateRetentionRequest{Years: 7, AutomaticPurge: true})
	require.NoError(t, err)
	l.pass(25 * time.Hour)
	require.Eventually(t, func() bool { return len(l.left(f.patient)) == 1 && l.left(f.patient)["erasures"] == 1 }, 3*patience, tick)
}
