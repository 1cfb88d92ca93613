package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every table of a practice that the service may write refuses from the destruction's decision on, but that of the exit
// itself, which goes on to its end.
func TestNoTableTakesWhatAPracticeThatLeavesWouldLose(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	open := func() (names []string) {
		for _, row := range l.sql(`SELECT c.relname::text FROM pg_class c JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
			WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
			  AND (has_any_column_privilege('records_app', c.oid, 'INSERT') OR has_any_column_privilege('records_app', c.oid, 'UPDATE'))
			  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'refuse_leaving' AND t.tgenabled = 'O')`) {
			names = append(names, row[0].(string))
		}
		return names
	}
	require.Equal(t, []string{"practice_exits"}, open(), "give the table the trigger refuse_leaving")

	// The trigger does refuse, also what would add no row.
	l.file(l.doctor())
	l.admin(`INSERT INTO practice_exits (practice_id, exit_id, state, requested_by, requested_at, approved_by, approved_at, manifest_digest)
		SELECT '` + l.practice.String() + `', gen_random_uuid(), 4, gen_random_uuid(), now(), gen_random_uuid(), now(), 'x'`)
	for _, table := range []string{"requests", "patients", "data_keys", "erasures", "makers", "uploads", "freezes", "retention"} {
		require.ErrorContains(t, l.try("SET carekeep.practice = '"+l.practice.String()+"'; INSERT INTO "+table+" SELECT * FROM "+table), "the practice has left", table)
	}
}
