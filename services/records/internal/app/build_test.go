package app_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

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

// The old generation serves until the switch; what is written meanwhile is in both.
func TestIndexIsRebuiltUnderWrites(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	before, during, after := uuid.NewString(), uuid.NewString(), uuid.NewString()
	h.withPhone(doctor, before, 5001)
	h.tamper(`INSERT INTO index_generations (practice_id, generation, state, format, region, phonetics, created_at)
		SELECT practice_id, 2, 'BUILDING', $1, 'US', true, now() FROM index_generations`, index.Version)
	h.withPhone(doctor, during, 5002)
	require.Len(t, h.sql("SELECT FROM resource_index WHERE id = $1", during), 2, "one entry in each generation")
	for id, form := range map[string]string{before: "phone=5558265001", during: "phone=5558265002"} {
		require.Equal(t, []string{id}, h.find(doctor, "Patient", form))
	}
	h.restart()
	h.withPhone(doctor, after, 5003)
	h.built(2)
	for id, form := range map[string]string{before: "phone=5558265001", during: "phone=5558265002", after: "phone=5558265003"} {
		require.Equal(t, []string{id}, h.find(doctor, "Patient", form))
	}
	require.Empty(t, h.sql("SELECT FROM resource_index WHERE generation <> 2"))
}

// Without a live generation a search says so, and finds no wrong nothing.
func TestSearchWaitsForTheFirstBuild(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	h.tamper("INSERT INTO index_generations (practice_id, generation, state, format, region, phonetics, created_at) VALUES ($1, 1, 'BUILDING', 1, 'US', false, now())", h.practice)
	_, _, err := h.page(doctor, "Patient", "phone=5558265001")
	require.Equal(t, "INDEX_BUILDING", errs.ReasonOf(err))
}
