package sms_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/sms"
)

func TestNumbersAreE164AndCostNothingExtra(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"+12025550123": "+12025550123", " +1 (202) 555-0123": "+12025550123", "+44 7911 123456": "+447911123456", "+49 1512 3456789": "+4915123456789",
	} {
		got, err := sms.Number(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "2025550123", "+1", "+1202555012", "+120255501234", "+19005550123", "+12025550123 ext. 5", "tel:+12025550123", "+٠١٢", "+1202555012a3"} {
		_, err := sms.Number(text)
		require.Error(t, err, text)
	}
}
