package transit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/google/uuid"
)

// What was wrapped under a trimmed version is gone, whoever kept a copy; what was
// rewrapped, or wrapped later, opens as before.
func TestDTD20_TrimDestroysTheOldVersionsForGood(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	ctx := t.Context()
	key := practice(t, records)
	plain, old, err := records.DataKey(ctx, key)
	require.NoError(t, err)
	require.NoError(t, records.RotateKey(ctx, key))
	rewrapped, err := records.Rewrap(ctx, key, []string{old})
	require.NoError(t, err)
	require.Equal(t, 1, transit.VersionOf(old))
	require.Equal(t, 2, transit.VersionOf(rewrapped[0]))

	info, err := records.Key(ctx, key)
	require.NoError(t, err)
	require.Equal(t, 2, info.Latest)
	require.Equal(t, 1, info.MinDecryption)
	require.Equal(t, 1, info.MinAvailable)
	require.Len(t, info.Created, 2)
	_, err = records.Decrypt(ctx, key, []string{old})
	require.NoError(t, err, "until the trim, old versions open")

	for range 2 {
		require.NoError(t, records.TrimKey(ctx, key, 2), "a trim may be repeated")
	}
	require.NoError(t, s.Restart(ctx))
	info, err = records.Key(ctx, key)
	require.NoError(t, err)
	require.Equal(t, 2, info.MinDecryption)
	require.Equal(t, 2, info.MinAvailable)
	require.Len(t, info.Created, 1)
	_, err = records.Decrypt(ctx, key, []string{old})
	require.Equal(t, errs.KindDataLoss, errs.KindOf(err))
	_, err = records.Rewrap(ctx, key, []string{old})
	require.Equal(t, errs.KindDataLoss, errs.KindOf(err))
	opened, err := records.Decrypt(ctx, key, rewrapped)
	require.NoError(t, err)
	require.Equal(t, plain, opened[0])
	require.Error(t, records.TrimKey(ctx, key, 1), "what is gone does not come back")
	require.Error(t, records.TrimKey(ctx, key, 3), "the newest version stays")
	_, err = records.Key(ctx, envelope.KeyName(uuid.New()))
	require.Equal(t, errs.KindNotFound, errs.KindOf(err))
}

// No other identity reads, rotates or trims a practice's key.
func TestDTD22_OnlyRecordsManagesPracticeKeys(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	ctx := t.Context()
	key := practice(t, records)
	require.NoError(t, records.RotateKey(ctx, key))
	for _, name := range []string{"auth", "audit", "backup", "backup-restore", "gateway", "ctl", "transit", "records-migrate"} {
		c := client(t, s, name)
		_, err := c.Key(ctx, key)
		requireDenied(t, err, name)
		requireDenied(t, c.RotateKey(ctx, key), name)
		requireDenied(t, c.TrimKey(ctx, key, 2), name)
	}
	for _, name := range []string{transit.AuthSecrets, transit.AuditCheckpoint, transit.Backup} {
		requireDenied(t, records.RotateKey(ctx, name), name)
		requireDenied(t, records.TrimKey(ctx, name, 1), name)
	}
	info, err := records.Key(ctx, key)
	require.NoError(t, err)
	require.Equal(t, 2, info.Latest)
	require.Equal(t, 1, info.MinAvailable)
}

func TestVersionOf(t *testing.T) {
	for text, want := range map[string]int{
		"vault:v1:abc": 1, "vault:v12:abc": 12, "": 0, "vault:v0:abc": 0, "vault:vx:abc": 0, "vault:v1": 0, "vault:1:abc": 0, "kms:v1:abc": 0, "vault:v-1:a": 0,
	} {
		require.Equal(t, want, transit.VersionOf(text), text)
	}
}
