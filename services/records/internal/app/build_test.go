package app_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/index"
)

func (h *house) withPhone(u *user, id string, number int) {
	h.t.Helper()
	h.mustImport(u, bundleOf(fmt.Sprintf(`{"resourceType":"Patient","id":"%s","telecom":[{"system":"phone","value":"555-826-%d"}]}`, id, number)))
}

// built waits until a generation is the only one of the practice.
func (h *house) built(generation int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		rows := h.sql("SELECT generation, state FROM index_generations WHERE practice_id = $1", h.practice)
		return len(rows) == 1 && rows[0][0] == int32(generation) && rows[0][1] == "LIVE"
	}, 3*patience, tick)
}

// A practice from before the index becomes searchable by itself, and a build that was
// killed goes on from where it was.
func TestIndexIsBuiltFromWhatIsStored(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	const first, second, third = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
	for i, id := range []string{first, second, third} {
		h.withPhone(doctor, id, 5001+i)
	}
	// As after a kill: the first is done, the others are not.
	h.tamper("DELETE FROM resource_index WHERE id <> $1", first)
	h.tamper(`UPDATE index_generations SET state = 'BUILDING', at_type = 'Patient', at_id = $1, done = 1, total = 3`, first)
	h.restart()
	h.built(1)
	for i, id := range []string{first, second, third} {
		require.Equal(t, []string{id}, h.find(doctor, "Patient", fmt.Sprintf("phone=555826%d", 5001+i)))
	}
	require.EqualValues(t, []any{int64(3), int64(0)}, h.sql("SELECT done, broken FROM index_generations")[0], "the first was not done again")
}

// rebuild starts the next generation.
func (h *house) rebuild(r *recordsv1.RebuildSearchIndexRequest) *recordsv1.SearchIndex {
	h.t.Helper()
	got, err := h.index.RebuildSearchIndex(h.as(h.admin()), r)
	require.NoError(h.t, err)
	return got
}

// The old generation serves until the switch; what is written meanwhile is in both.
func TestIndexIsRebuiltUnderWrites(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(s *settings) { s.Upkeep.PollSeconds = 1 })
	doctor := h.doctor()
	before, during, after := uuid.NewString(), uuid.NewString(), uuid.NewString()
	h.withPhone(doctor, before, 5001)
	// Nobody works at the build while another has the lock of the upkeep.
	release := h.idle()
	got := h.rebuild(&recordsv1.RebuildSearchIndexRequest{})
	require.Len(t, got.GetGenerations(), 2)
	h.withPhone(doctor, during, 5002)
	require.Len(t, h.sql("SELECT FROM resource_index WHERE id = $1", during), 2, "one entry in each generation")
	for id, form := range map[string]string{before: "phone=5558265001", during: "phone=5558265002"} {
		require.Equal(t, []string{id}, h.find(doctor, "Patient", form))
	}
	_, err := h.index.RebuildSearchIndex(h.as(h.admin()), &recordsv1.RebuildSearchIndexRequest{})
	require.Equal(t, "INDEX_UNFINISHED", errs.ReasonOf(err))
	release()
	h.withPhone(doctor, after, 5003)
	h.built(2)
	for id, form := range map[string]string{before: "phone=5558265001", during: "phone=5558265002", after: "phone=5558265003"} {
		require.Equal(t, []string{id}, h.find(doctor, "Patient", form))
	}
	require.Empty(t, h.sql("SELECT FROM resource_index WHERE generation <> 2"))
}

// idle keeps the upkeep from working until the returned function is called.
func (h *house) idle() (release func()) {
	h.t.Helper()
	conn, err := h.db.AdminConn(h.t.Context(), h.database)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	require.Eventually(h.t, func() bool {
		var mine bool
		return conn.QueryRow(h.t.Context(), "SELECT pg_try_advisory_lock(x'636b7570'::bigint)").Scan(&mine) == nil && mine
	}, patience, tick)
	return func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_advisory_unlock_all()")
		require.NoError(h.t, err)
	}
}

// A rebuild is how the key of an index is replaced: the tokens are others, the key is
// rewrapped like any key, and searches go on after the old version is destroyed.
func TestDTD20_ARebuiltIndexHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, admin, id := h.doctor(), h.admin(), uuid.NewString()
	h.withPhone(doctor, id, 5001)
	tokens := func() any { return h.sql("SELECT token FROM resource_index WHERE id = $1", id)[0][0] }
	first := tokens()
	events := h.since(func() { h.rebuild(&recordsv1.RebuildSearchIndexRequest{}) })
	require.True(t, slices.ContainsFunc(events, func(e *auditv1.Event) bool { return e.GetAction() == accessv1.Action_ACTION_KEY_CREATE }))
	h.built(2)
	require.NotEqual(t, first, tokens())
	shown, err := h.index.GetSearchIndex(h.as(admin), &recordsv1.GetSearchIndexRequest{})
	require.NoError(t, err)
	require.Len(t, shown.GetGenerations(), 1)
	require.True(t, shown.GetGenerations()[0].GetOwnKey())
	require.EqualValues(t, 1, shown.GetGenerations()[0].GetDone())

	wrapped := func() string { return h.sql("SELECT wrapped FROM index_generations")[0][0].(string) }
	require.True(t, strings.HasPrefix(wrapped(), "vault:v1:"))
	job, err := h.keys.RotatePracticeKey(h.as(admin), &recordsv1.RotatePracticeKeyRequest{})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, h.finished(admin, job, err).GetState())
	require.True(t, strings.HasPrefix(wrapped(), "vault:v2:"), "an index key is rewrapped too")
	for _, v := range h.status(admin).GetVersions() {
		require.EqualValues(t, map[int32]int64{1: 0, 2: 4}[v.GetVersion()], v.GetWrappedKeys(), "two index keys, the directory's and the patient's")
	}
	h.pass(36 * 24 * time.Hour)
	_, err = h.keys.TrimPracticeKey(h.as(admin), &recordsv1.TrimPracticeKeyRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{id}, h.find(doctor, "Patient", "phone=5558265001"))
	h.restart()
	require.Equal(t, []string{id}, h.find(doctor, "Patient", "phone=5558265001"), "nothing of it was in memory")
}

// Sounds are indexed where the practice wants them, and not before.
func TestPhoneticsAreSwitchedOnByThePractice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, id := h.doctor(), uuid.NewString()
	h.mustImport(doctor, bundleOf(fmt.Sprintf(searchable, id)))
	sounds := func() int {
		return len(h.sql("SELECT FROM resource_index WHERE index_id = $1", index.SoundBirthDate.ID))
	}
	_, _, err := h.page(doctor, "Patient", "phonetic=Smyth&birthdate=1980-02-29")
	require.Equal(t, "SEARCH_UNSUPPORTED", errs.ReasonOf(err))
	require.Zero(t, sounds())
	h.rebuild(&recordsv1.RebuildSearchIndexRequest{Phonetics: proto.Bool(true), Region: "GB"})
	h.built(2)
	require.Equal(t, []string{id}, h.find(doctor, "Patient", "phonetic=Smyth&birthdate=1980-02-29"))
	require.NotZero(t, sounds())
	// What is not said stays as it is.
	got := h.rebuild(&recordsv1.RebuildSearchIndexRequest{})
	last := got.GetGenerations()[len(got.GetGenerations())-1]
	require.True(t, last.GetPhonetics())
	require.Equal(t, "GB", last.GetRegion())
	h.built(3)
	h.rebuild(&recordsv1.RebuildSearchIndexRequest{Phonetics: proto.Bool(false)})
	h.built(4)
	require.Zero(t, sounds())
	_, err = h.index.RebuildSearchIndex(h.as(h.admin()), &recordsv1.RebuildSearchIndexRequest{Region: "XX"})
	require.Equal(t, "REGION_UNKNOWN", errs.ReasonOf(err))
}

// Without a live generation a search says so, and finds no wrong nothing.
func TestSearchWaitsForTheFirstBuild(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	t.Cleanup(h.idle()) // the upkeep would build it
	h.tamper("INSERT INTO index_generations (practice_id, generation, state, format, region, phonetics, created_at) VALUES ($1, 1, 'BUILDING', 1, 'US', false, now())", h.practice)
	_, _, err := h.page(doctor, "Patient", "phone=5558265001")
	require.Equal(t, "INDEX_BUILDING", errs.ReasonOf(err))
}
