package server_test

import (
	"maps"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/evidence"
)

// counted are the calls that the server tells of, by minute and method.
func (r *rig) counted(whole bool) map[[2]any]int64 {
	out := map[[2]any]int64{}
	for _, minute := range r.server.Calls(whole) {
		for _, m := range minute.GetMethods() {
			out[[2]any{minute.GetMinute(), m.GetMethod()}] += m.GetCalls()
		}
	}
	return out
}

func TestDTD07_EveryCallIsCountedInTheMinuteOfItsId(t *testing.T) {
	r := newRig(t).start()
	for range 3 {
		_, err := r.call(r.as(), getRPC)
		require.Error(t, err, "denied")
	}
	_, err := r.call(r.context(), getRPC)
	require.Error(t, err, "nobody")
	for range 2 {
		_, err = r.call(r.as(), "/carekeep.made.up.Service/Method")
		require.Error(t, err)
	}
	logged := map[[2]any]int64{}
	calls := map[string]bool{}
	for _, e := range r.sink.take() {
		require.False(t, calls[string(e.GetCallId())], "one call, one id")
		calls[string(e.GetCallId())] = true
		method := e.GetMethod()
		if method != getRPC {
			method = ""
		}
		logged[[2]any{evidence.Began(uuid.UUID(e.GetCallId())).Unix() / 60, method}]++
	}
	require.Len(t, calls, 6)
	require.Equal(t, logged, r.counted(false))
	for key := range r.counted(true) {
		require.Contains(t, logged, key)
	}
	all := r.counted(false)
	maps.DeleteFunc(all, func(key [2]any, _ int64) bool { return key[1] != "" })
	require.NotEmpty(t, all, "methods that nobody offers count together")
}
