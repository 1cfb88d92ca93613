package transit_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/transit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t testing.TB, s *devtransit.Server, identity string) *transit.Client {
	c, err := s.Client(identity)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// practice makes a practice's key as records does.
func practice(t testing.TB, records *transit.Client) string {
	name := envelope.KeyName(uuid.New())
	require.NoError(t, records.CreateKey(context.Background(), name, transit.AES256))
	return name
}

func TestDataKeysAndBatches(t *testing.T) {
	t.Parallel()
	records := client(t, devtransit.ForTest(t), "records")
	ctx := t.Context()
	key := practice(t, records)
	require.NoError(t, records.CreateKey(ctx, key, transit.AES256), "making a key twice is no error")

	plain, wrapped, err := records.DataKey(ctx, key)
	require.NoError(t, err)
	require.Len(t, plain, 32)
	again, err := records.Decrypt(ctx, key, []string{wrapped})
	require.NoError(t, err)
	require.Equal(t, [][]byte{plain}, again)

	values := make([][]byte, 1203) // more than one batch call holds
	for i := range values {
		values[i] = fmt.Append(nil, "value ", i)
	}
	values[7] = nil
	sealed, err := records.Encrypt(ctx, key, values)
	require.NoError(t, err)
	require.NoError(t, records.RotateKey(ctx, key))
	sealed, err = records.Rewrap(ctx, key, sealed)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(sealed[0], "vault:v2:"))
	opened, err := records.Decrypt(ctx, key, sealed)
	require.NoError(t, err)
	require.Len(t, opened, len(values))
	for i := range opened {
		require.Equal(t, string(values[i]), string(opened[i]))
	}
	none, err := records.Decrypt(ctx, key, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestSignaturesVerifyWithThePublicKey(t *testing.T) {
	t.Parallel()
	audit := client(t, devtransit.ForTest(t), "audit")
	ctx := t.Context()
	require.NoError(t, audit.CreateKey(ctx, transit.AuditCheckpoint, transit.Ed25519))
	keys, err := audit.PublicKeys(ctx, transit.AuditCheckpoint)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	message := []byte("carekeep.example/log\n42\n")
	signature, err := audit.Sign(ctx, transit.AuditCheckpoint, message)
	require.NoError(t, err)
	require.True(t, ed25519.Verify(keys[1], message, signature))
	require.False(t, ed25519.Verify(keys[1], message[1:], signature))
}

func TestDTD22_OnlyRecordsUnwraps(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	ctx := t.Context()
	key := practice(t, records)
	plain, wrapped, err := records.DataKey(ctx, key)
	require.NoError(t, err)
	opened, err := records.Decrypt(ctx, key, []string{wrapped})
	require.NoError(t, err)
	require.Equal(t, plain, opened[0])

	others := []string{"auth", "audit", "backup", "backup-restore", "gateway", "ctl", "transit", "records-migrate"}
	for _, name := range others {
		c := client(t, s, name)
		_, err := c.Decrypt(ctx, key, []string{wrapped})
		requireDenied(t, err, name)
		_, err = c.Rewrap(ctx, key, []string{wrapped})
		requireDenied(t, err, name)
		_, _, err = c.DataKey(ctx, key)
		requireDenied(t, err, name)
	}

	unwraps, denials := map[string]int{}, map[string]int{}
	for _, line := range auditLog(t, s) {
		if line.Path == "transit/decrypt/"+key && line.Outcome == "allowed" {
			unwraps[line.Identity]++
		}
		if line.Outcome == "denied" && (line.Path == "transit/decrypt/"+key || line.Path == "auth/cert/login") {
			denials[line.Identity]++
		}
	}
	require.Equal(t, map[string]int{"records": 1}, unwraps, "each unwrap is in Vault's log, and all are records'")
	for _, name := range others {
		require.Positive(t, denials[name], "the log shows that %s was refused", name)
	}
}

func TestDH14_TheWriterOfBackupsCannotReadThem(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	ctx := t.Context()
	backup := client(t, s, "backup")
	require.NoError(t, backup.CreateKey(ctx, transit.Backup, transit.AES256))
	plain, wrapped, err := backup.DataKey(ctx, transit.Backup)
	require.NoError(t, err)
	_, err = backup.Decrypt(ctx, transit.Backup, []string{wrapped})
	requireDenied(t, err, "backup")
	opened, err := client(t, s, "backup-restore").Decrypt(ctx, transit.Backup, []string{wrapped})
	require.NoError(t, err)
	require.Equal(t, plain, opened[0])
}

func TestARoleBelongsToItsCertificate(t *testing.T) {
	t.Parallel()
	authority := ca.ForTest(t)
	s := devtransit.ForTest(t, authority)
	stranger, err := ca.New(t.TempDir(), authority.TrustDomain())
	require.NoError(t, err)
	for _, as := range []struct {
		authority *ca.CA
		identity  string
		kind      errs.Kind
	}{{authority, "gateway", errs.KindDenied}, {stranger, "records", errs.KindUnavailable}} {
		source, err := as.authority.Source(as.identity)
		require.NoError(t, err)
		c, err := transit.New(transit.Config{Address: s.Address(), Role: "records"}, source)
		require.NoError(t, err)
		defer c.Close()
		require.Equal(t, as.kind, errs.KindOf(c.Ready(t.Context())), as.identity)
	}
}

func TestKeysAndClientsSurviveARestart(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	ctx := t.Context()
	key := practice(t, records)
	plain, wrapped, err := records.DataKey(ctx, key)
	require.NoError(t, err)

	s.Kill()
	_, err = records.Decrypt(ctx, key, []string{wrapped})
	require.Equal(t, errs.KindUnavailable, errs.KindOf(err))
	require.Equal(t, "TRANSIT_UNAVAILABLE", errs.ReasonOf(err))
	require.Error(t, records.Ready(ctx))

	require.NoError(t, s.Restart(ctx))
	opened, err := records.Decrypt(ctx, key, []string{wrapped})
	require.NoError(t, err, "the token is forgotten, so the client logs in again")
	require.Equal(t, plain, opened[0])
	require.NoError(t, records.Ready(ctx))
}

func TestARestartInTheMiddleFailsNobodyForLong(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	key := practice(t, records)
	_, wrapped, err := records.DataKey(t.Context(), key)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	restarted := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for done := false; !done; {
				select {
				case <-restarted:
					done = true // one more call, and it must succeed
				default:
				}
				_, err := records.Decrypt(ctx, key, []string{wrapped})
				if err != nil && (done || errs.KindOf(err) != errs.KindUnavailable) {
					t.Errorf("restarted %v: %v", done, err)
					return
				}
			}
		})
	}
	require.NoError(t, s.Restart(ctx))
	close(restarted)
	wg.Wait()
}

func TestErrorsAreClassedAndHoldNoValue(t *testing.T) {
	t.Parallel()
	s := devtransit.ForTest(t)
	records := client(t, s, "records")
	ctx := t.Context()
	key, other := practice(t, records), practice(t, records)
	_, wrapped, err := records.DataKey(ctx, key)
	require.NoError(t, err)
	secret := strings.TrimPrefix(wrapped, "vault:v1:")
	flipped := wrapped[:20] + string(wrapped[20]^1) + wrapped[21:]

	for name, c := range map[string]struct {
		key    string
		sealed []string
	}{
		"another practice": {other, []string{wrapped}},
		"one of many":      {key, []string{wrapped, flipped}},
		"not wrapped":      {key, []string{"canary-" + secret}},
		"no such key":      {envelope.KeyName(uuid.New()), []string{wrapped}},
	} {
		_, err := records.Decrypt(ctx, c.key, c.sealed)
		require.Equal(t, errs.KindDataLoss, errs.KindOf(err), "%s: %v", name, err)
		require.NotContains(t, fmt.Sprintf("%+v", err), secret[:16], name)
	}
	_, err = records.Encrypt(ctx, envelope.KeyName(uuid.New()), [][]byte{[]byte("canary")})
	requireDenied(t, err, "encrypting makes no keys")
	require.NotContains(t, err.Error(), "canary")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, records.Ready(cancelled), context.Canceled)
}

func TestConfigSaysWhatToChange(t *testing.T) {
	for _, c := range []transit.Config{
		{Address: "http://127.0.0.1:8200", Role: "records"}, {Address: "127.0.0.1:8200", Role: "records"}, {Address: "https://vault:8200"}, {},
	} {
		require.Error(t, c.Validate(), c)
	}
	require.NoError(t, transit.Config{Address: "https://vault:8200", Role: "records"}.Validate())
}

func requireDenied(t testing.TB, err error, name string) {
	t.Helper()
	require.Equal(t, errs.KindDenied, errs.KindOf(err), "%s: %v", name, err)
	require.Equal(t, "TRANSIT_DENIED", errs.ReasonOf(err), name)
}

type auditLine struct{ Identity, Path, Outcome string }

func auditLog(t testing.TB, s *devtransit.Server) (lines []auditLine) {
	file, err := os.Open(s.AuditLog())
	require.NoError(t, err)
	defer file.Close()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		require.NotContains(t, scan.Text(), "vault:v", "the log holds no values")
		var line auditLine
		require.NoError(t, json.Unmarshal(scan.Bytes(), &line))
		lines = append(lines, line)
	}
	return lines
}
