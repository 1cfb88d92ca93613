package seal_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	libtransit "github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
)

func TestSealedValuesOpenOnlyWhereTheyBelong(t *testing.T) {
	t.Parallel()
	client, err := transit.ForTest(t).Client("auth")
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, client.CreateKey(ctx, libtransit.AuthSecrets, libtransit.AES256))
	sealer := seal.New(client)
	alice, bob := uuid.New(), uuid.New()
	sealed, err := sealer.Seal(ctx, seal.Totp, alice, []byte("secret of alice"))
	require.NoError(t, err)
	require.NotContains(t, sealed, "alice")
	again, err := sealer.Seal(ctx, seal.Totp, alice, []byte("secret of alice"))
	require.NoError(t, err)
	require.NotEqual(t, sealed, again)

	plain, err := sealer.Open(ctx, seal.Totp, alice, sealed)
	require.NoError(t, err)
	require.Equal(t, "secret of alice", string(plain))

	// Copied into another user's row, or another column of the same one.
	for _, item := range []seal.Item{{Kind: seal.Totp, Owner: bob, Sealed: sealed}, {Kind: seal.Email, Owner: alice, Sealed: sealed}} {
		_, err = sealer.OpenAll(ctx, []seal.Item{item})
		require.Equal(t, evidence.ReasonSealBroken, errs.ReasonOf(err))
		require.Equal(t, errs.KindDataLoss, errs.KindOf(err))
	}
	_, err = sealer.Open(ctx, seal.Totp, alice, sealed[:len(sealed)-8]+"AAAAAAAA")
	require.Error(t, err)

	// What is empty stays empty, among others too.
	none, err := sealer.Seal(ctx, seal.Email, bob, nil)
	require.NoError(t, err)
	require.Empty(t, none)
	all, err := sealer.OpenAll(ctx, []seal.Item{{Kind: seal.Email, Owner: bob}, {Kind: seal.Totp, Owner: alice, Sealed: again}, {}})
	require.NoError(t, err)
	require.Equal(t, [][]byte{nil, []byte("secret of alice"), nil}, all)
}
