package search

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Parameters that stand again multiply: they are counted before the first HMAC, and counting ends
// at the limit. A generation without a key can make no token, so one that is made panics.
func TestATooWideSearchIsRefusedBeforeAnyToken(t *testing.T) {
	t.Parallel()
	repeated := func(parameter string, times int) string { return strings.Repeat(parameter+"&", times) }
	for name, c := range map[string]struct{ resourceType, form string }{
		"names that stand again": {"Patient", repeated("birthdate=1980-02-29", 70) + repeated("family=a", 50) + repeated("given=b", 48)},
		"names in lists": {"Patient", "birthdate=1980-02-29" + strings.Repeat(",1980-02-29", 63) + "&family=a" + strings.Repeat(",a", 63) +
			"&given=b" + strings.Repeat(",b", 63)},
		"families":          {"Patient", repeated("birthdate=1980-02-29", 3) + repeated("family=a", 50)},
		"identifiers":       {"Patient", repeated("identifier=a", maxTokens+1)},
		"codes of patients": {"Observation", "patient=" + uuid.NewString() + "," + uuid.NewString() + "&" + repeated("code=s|c", maxTokens/2+1)},
	} {
		q, err := parse(t, c.resourceType, c.form)
		require.NoError(t, err, name)
		require.NotPanics(t, func() { _, err = q.plan(&keys.Practice{}, index.Generation{}, store.Cursor{}) }, name)
		require.Equal(t, ReasonTooWide, errs.ReasonOf(err), name)
	}
}
