package app_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What records says it served and what it left in the outbox are the same calls, by method and in
// both directions: those that read and change charts, that are denied, that nobody may make, and
// that nobody offers.
func TestDTD07_DTD08_CallsServedAreCallsLogged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	stranger := h.doctor()
	for _, a := range accesses() {
		f := h.file(doctor)
		_, err := a.call(h.as(doctor), h.client, f)
		require.NoError(t, err, a.name)
		_, _ = a.call(h.as(stranger), h.client, f)
		_, err = a.call(t.Context(), h.client, f)
		require.Error(t, err, "%s without a caller", a.name)
	}
	served := map[string]int64{}
	for _, minute := range h.app.Server.Calls(false) {
		for _, m := range minute.GetMethods() {
			served[m.GetMethod()] += m.GetCalls()
		}
	}
	logged := map[string]map[string]bool{}
	for _, e := range h.events() {
		if strings.HasPrefix(e.GetMethod(), "jobs/") {
			continue
		}
		if logged[e.GetMethod()] == nil {
			logged[e.GetMethod()] = map[string]bool{}
		}
		logged[e.GetMethod()][string(e.GetCallId())] = true
	}
	stored := map[string]int64{}
	for method, calls := range logged {
		stored[method] = int64(len(calls))
	}
	require.Equal(t, stored, served)
	require.Greater(t, len(served), 3)
}
