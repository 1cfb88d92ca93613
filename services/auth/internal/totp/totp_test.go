package totp

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCodesAreAcceptedOneStepAround(t *testing.T) {
	t.Parallel()
	enrolment, err := Enrol("dr.smith")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(enrolment.URI, "otpauth://totp/carekeep:dr.smith?"), enrolment.URI)
	raw, err := Raw(enrolment.Secret)
	require.NoError(t, err)
	require.Len(t, raw, secretBytes)
	require.Equal(t, enrolment.Secret, Text(raw))

	now := time.Unix(1_800_000_000, 0)
	step := now.Unix() / 30
	code, err := Code(enrolment.Secret, now)
	require.NoError(t, err)
	for offset, want := range map[time.Duration]bool{-60 * time.Second: false, -30 * time.Second: true, 0: true, 30 * time.Second: true, 60 * time.Second: false} {
		got, ok := Verify(raw, code, now.Add(offset), 0)
		require.Equal(t, want, ok, offset)
		if ok {
			require.Equal(t, step, got)
		}
	}
	_, ok := Verify(raw, code, now, step)
	require.False(t, ok, "a used step is not accepted again")
	_, ok = Verify(raw, "000000", now, 0)
	require.Equal(t, code == "000000", ok)
}

// RFC 6238 appendix B, SHA-1, cut to six digits.
func TestRFC6238Vectors(t *testing.T) {
	t.Parallel()
	raw := []byte("12345678901234567890")
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"} {
		step, ok := Verify(raw, code, time.Unix(at, 0), -1)
		require.True(t, ok, at)
		require.Equal(t, at/30, step)
	}
}
