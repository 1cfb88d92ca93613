package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

func TestTokensBelongToTheirFilters(t *testing.T) {
	req := &auditv1.ListEntriesRequest{UserId: "u", PageSize: 5}
	token := writeToken(store.AlertKey{Seq: 7}, fingerprint(req))
	req.PageSize, req.PageToken = 9, token
	got, err := readToken(token, fingerprint(req))
	require.NoError(t, err, "page size and token may differ")
	require.Equal(t, store.AlertKey{Seq: 7}, got)
	req.UserId = "v"
	_, err = readToken(token, fingerprint(req))
	require.ErrorIs(t, err, badToken)
	_, err = readToken(token, fingerprint(&auditv1.ListAlertsRequest{}))
	require.ErrorIs(t, err, badToken)
}

// FuzzToken: a token that is taken is one that we could have written.
func FuzzToken(f *testing.F) {
	filters := fingerprint(&auditv1.ListAlertsRequest{})
	f.Add(writeToken(store.AlertKey{Seq: 1, Reason: "SEAL_BROKEN"}, filters))
	f.Add(writeToken(store.AlertKey{Seq: 0, Reason: "X"}, filters))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, token string) {
		key, err := readToken(token, filters)
		if err != nil || token == "" {
			return
		}
		require.Equal(t, token, writeToken(key, filters))
		require.GreaterOrEqual(t, key.Seq, int64(0))
	})
}
