package app_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// reported are the reports of all calls so far.
func (a *authority) reported() [][]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// refusing makes the database refuse a statement on freezes, at the commit where it is deferred. What it returns ends that.
func (h *house) refusing(when string) (end func()) {
	h.t.Helper()
	h.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$")
	h.sql("CREATE CONSTRAINT TRIGGER refuse AFTER " + when + " FOR EACH ROW EXECUTE FUNCTION refuse()")
	return func() {
		h.sql("DROP TRIGGER refuse ON freezes")
		h.sql("DROP FUNCTION refuse()")
	}
}

// A touch whose commit failed leaves neither event nor answer, and freezes nobody, here or at auth.
func TestATouchThatDidNotCommitFreezesNobody(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner := h.doctor()
	f := h.file(owner)
	h.arm(f, true)
	end := h.refusing("INSERT ON freezes DEFERRABLE INITIALLY DEFERRED")
	require.Empty(t, critical(h.since(func() {
		_, err := h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
		require.Error(t, err)
	})))
	end()
	require.Empty(t, h.sql("SELECT FROM freezes"))
	_, err := h.client.ListPatients(h.as(owner), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err, "the session goes on")
	require.Empty(t, auth.reported())

	_, err = h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err)
	require.Len(t, auth.reported(), 1)
	require.Equal(t, h.sql("SELECT freeze_id::text FROM freezes WHERE done_at IS NOT NULL")[0][0], auth.reported()[0][0])
}

// A freeze that could not be noted is reported again under the id that auth knows, so that a thaw in between stays
// one; what is done is not reported again, and another touch is another report.
func TestAReportThatIsRepeatedIsTheSame(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner := h.doctor()
	f := h.file(owner)
	h.arm(f, true)
	end := h.refusing("UPDATE ON freezes")
	_, err := h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err, "the account is frozen")
	require.Eventually(t, func() bool { return len(auth.reported()) > 1 }, patience, tick)
	for _, reports := range auth.reported() {
		require.Equal(t, auth.reported()[0], reports)
	}
	end()
	h.restart() // which tries at once, and knows nobody to refuse
	require.Eventually(t, func() bool { return len(h.sql("SELECT FROM freezes WHERE done_at IS NULL")) == 0 }, patience, tick)
	before := len(auth.reported())
	_, err = h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
	require.NoError(t, err)
	calls := auth.reported()
	require.Len(t, calls, before+1)
	require.Len(t, calls[before], 1)
	require.NotEqual(t, calls[0], calls[before])
}
