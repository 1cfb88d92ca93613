package validate_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
)

// What services/audit writes for patients and searches is R4: the resources that its own test reviewed.
func TestDH34_TheAuditEventsOfTheLogAreR4(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../../../audit/internal/auditevent/testdata/resources.golden")
	require.NoError(t, err)
	lines := bytes.Split(bytes.TrimSpace(file), []byte("\n"))
	require.Greater(t, len(lines), 5)
	for _, line := range lines {
		report := validate.Resource("AuditEvent", line)
		require.Empty(t, report.Issues, "%s", line)
		broken := bytes.Replace(line, []byte(`"action":"`), []byte(`"act":"`), 1)
		require.NotEmpty(t, validate.Resource("AuditEvent", broken).Issues)
	}
}
