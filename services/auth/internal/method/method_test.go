package method

import (
	"testing"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

func TestDH22_TheMethodsDecideTheLevel(t *testing.T) {
	t.Parallel()
	for set := Set(0); set < External<<1; set++ {
		for _, acceptEmail := range []bool{false, true} {
			first := set&Password != 0 || set&External != 0
			second := set&TOTP != 0 || set&SMS != 0 || set&Recovery != 0 || (acceptEmail && set&Email != 0)
			want := accessv1.Assurance_ASSURANCE_AAL1
			if first && second || set&Passkey != 0 || set&QR != 0 {
				want = accessv1.Assurance_ASSURANCE_AAL2
			}
			require.Equal(t, want, set.Level(acceptEmail), "%b", set)
		}
	}
}

func TestDH23_AMailedCodeIsOneFactorUnlessThePracticeAcceptsIt(t *testing.T) {
	t.Parallel()
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, (Password | Email).Level(false))
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, (Password | Email).Level(true))
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL1, Email.Level(true), "alone it is never two")
}

func TestEveryMethodHasABit(t *testing.T) {
	t.Parallel()
	all := External<<1 - 1
	require.Len(t, all.List(), len(authv1.Method_name)-1)
	require.Equal(t, authv1.Method_METHOD_PASSKEY, all.List()[0])
	require.True(t, all.Has(Password|QR))
	require.False(t, Password.Has(Password|QR))
}
