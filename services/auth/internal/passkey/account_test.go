package passkey_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// A good answer opens nothing once its passkey or its account was taken away, not even
// where the ceremony had begun before, and nobody learns which it was.
func TestDH26_APasskeyOpensNothingOnceItOrItsAccountIsTakenAway(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	guard := authv1.NewDeviceServiceClient(c.Auth.Dial("gateway"))
	report := func(p *testkit.Person) error {
		_, err := guard.ReportCompromise(p.Context(), &authv1.ReportCompromiseRequest{})
		return err
	}
	for _, row := range []struct {
		name, stage string
		take        func(p *testkit.Person, passkey string) error
	}{
		{"removed", unknown, func(p *testkit.Person, passkey string) error {
			_, err := c.DeletePasskey(p.Context(), &authv1.DeletePasskeyRequest{Name: passkey})
			return err
		}},
		{"disabled", "USER_DISABLED", func(p *testkit.Person, _ string) error {
			_, err := c.Auth.DisableUser(c.smith.Context(), &authv1.DisableUserRequest{Name: p.User})
			return err
		}},
		{"frozen", "ACCOUNT_FROZEN", func(p *testkit.Person, _ string) error { return report(p) }},
		{"closed", "ACCOUNT_CLOSED", func(p *testkit.Person, _ string) error {
			if err := report(p); err != nil {
				return err
			}
			_, err := guard.ThawUser(c.smith.Context(), &authv1.ThawUserRequest{Name: p.User})
			return err
		}},
		{"practice", "PRACTICE_DISABLED", func(*testkit.Person, string) error { // the last row: it is everybody's
			found, err := c.Auth.GetPractice(c.root.Context(), &authv1.GetPracticeRequest{Name: c.smith.Practice})
			if err != nil {
				return err
			}
			found.Disabled = true
			_, err = c.Auth.UpdatePractice(c.root.Context(), &authv1.UpdatePracticeRequest{Practice: found})
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			user, ph := c.NewUser(c.smith, "dr."+row.name, accessv1.RoleKind_ROLE_KIND_DOCTOR, ""), newPhone()
			added, err := c.register(user, ph, "phone")
			require.NoError(t, err)
			ph.credential.Counter++
			opened, err := c.signIn(ph, user)
			require.NoError(t, err)
			user.Session = opened.GetSessionToken()

			early := c.beginSignIn()
			require.NoError(t, row.take(user, added.GetPasskey().GetName()))
			before := c.kept()
			ph.credential.Counter++
			c.refused(t, c.finishSignIn(early.id, ph.assertion(t, early.options, good)), signing, row.stage, before)
			late := c.beginSignIn()
			ph.credential.Counter++
			c.refused(t, c.finishSignIn(late.id, ph.assertion(t, late.options, good)), signing, row.stage, before)
		})
	}
}

// What is taken away while the answer is being verified counts too: the lock of the user holds
// the sign-in between its verification and its session.
func TestDH26_APasskeyOpensNothingThatIsTakenAwayMeanwhile(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for _, row := range []struct{ name, take, back string }{
		{"disabled", "UPDATE users SET disabled = true WHERE id = $1", "UPDATE users SET disabled = false WHERE id = $1"},
		{"frozen", "UPDATE users SET frozen = now() WHERE id = $1", "UPDATE users SET frozen = NULL WHERE id = $1"},
		{"closed", "UPDATE users SET closed = now() WHERE id = $1", "UPDATE users SET closed = NULL WHERE id = $1"},
		{"removed", "DELETE FROM passkeys WHERE user_id = $1", "SELECT $1::uuid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ceremony := c.beginSignIn()
			c.phone.credential.Counter++
			answer := c.phone.assertion(t, ceremony.options, good)
			ended := make(chan error, 1)
			c.Admin(func(ctx context.Context, conn *pgx.Conn) {
				tx, err := conn.Begin(ctx)
				require.NoError(t, err)
				_, err = tx.Exec(ctx, "SELECT FROM activity WHERE user_id = $1 FOR UPDATE", c.smith.ID)
				require.NoError(t, err)
				go func() { ended <- c.finishSignIn(ceremony.id, answer) }()
				require.Eventually(t, func() bool {
					var waits bool
					err := c.admin.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
						WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
					return err == nil && waits
				}, 20*time.Second, 10*time.Millisecond)
				_, err = tx.Exec(ctx, row.take, c.smith.ID)
				require.NoError(t, err)
				require.NoError(t, tx.Commit(ctx))
			})
			err := <-ended
			c.refused(t, err, signing, "PASSKEY_OR_ACCOUNT_CHANGED", c.kept())
			_, err = c.admin.Exec(t.Context(), row.back, c.smith.ID)
			require.NoError(t, err)
		})
	}
	var open int
	require.NoError(t, c.admin.QueryRow(t.Context(), "SELECT count(*) FROM sessions WHERE user_id = $1", c.smith.ID).Scan(&open))
	require.Equal(t, 1, open, "the one in which the passkey was registered")
}

// A counter that does not go up may mean a copy of the passkey and proves none (WebAuthn L3
// section 6.1.1): its user comes in, with an event of high risk and a mail.
func TestDH26_ACounterThatDoesNotGoUpIsASignalOfRisk(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	const warning = "A passkey may have been copied"
	warnings := func() (n int) {
		for _, m := range c.Inbox.Messages(c.smith.Email) {
			if strings.Contains(m.Text, warning) {
				n++
			}
		}
		return n
	}
	sent := 0
	for _, way := range c.ways()[1:] {
		_, err := c.admin.Exec(t.Context(), "UPDATE passkeys SET sign_count = 0")
		require.NoError(t, err)
		for _, step := range []struct {
			counter uint32
			risky   bool
			stored  int64
		}{
			{1000, false, 1000},
			{1000, true, 1000},
			{999, true, 1000},
			{0, true, 1000},
			{1001, false, 1001},
			{1<<32 - 1, false, 1<<32 - 1},
			{1, true, 1<<32 - 1},
		} {
			ceremony := way.begin()
			require.NoError(t, way.finish(ceremony.id, c.phone.assertion(t, ceremony.options, func(f *forgery) { f.counter = step.counter })))
			require.Equal(t, step.stored, c.stored(t), "a counter is never lowered")
			last := c.last()
			require.Equal(t, signing, last.GetAction())
			require.Equal(t, auditv1.Outcome_OUTCOME_OK, last.GetOutcome())
			require.Equal(t, step.risky, last.GetRisk() == auditv1.Risk_RISK_HIGH, step.counter)
			require.Equal(t, step.risky, last.GetReason() == "PASSKEY_COUNTER", step.counter)
			if step.risky {
				sent++
				require.Eventually(t, func() bool { return warnings() == sent }, 30*time.Second, 20*time.Millisecond)
			}
		}
	}
	require.Equal(t, sent, warnings(), "each time and no other time")
}

// Two copies that answer at the same moment with one count do not both pass unnoticed.
func TestDH26_OfCopiesThatAnswerAtOnceOneAloneIsUnnoticed(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	replicas := []*clinic{c, c.at(c.Replica())}
	for range 5 {
		c.phone.credential.Counter++
		var group sync.WaitGroup
		before := len(c.Events())
		for i := range 8 {
			ceremony := c.beginSignIn()
			request := &authv1.FinishPasskeySignInRequest{
				Ceremony: ceremony.id, Credential: toStruct(t, c.phone.assertion(t, ceremony.options, good)), Client: c.client(),
			}
			group.Go(func() { _, _ = replicas[i%2].FinishPasskeySignIn(c.Context(), request) })
		}
		group.Wait()
		unnoticed := 0
		for _, e := range c.Events()[before:] {
			if e.GetAction() == signing && e.GetResource() != "" && e.GetOutcome() == auditv1.Outcome_OUTCOME_OK && e.GetRisk() != auditv1.Risk_RISK_HIGH {
				unnoticed++
			}
		}
		require.Equal(t, 1, unnoticed)
	}
}

// Authenticators that do not count say 0 for ever.
func TestDH26_ACounterOfZeroIsNoSignal(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	for _, way := range c.ways()[1:] {
		for range 2 {
			ceremony := way.begin()
			require.NoError(t, way.finish(ceremony.id, c.phone.assertion(t, ceremony.options, func(f *forgery) { f.counter = 0 })))
			require.NotEqual(t, "PASSKEY_COUNTER", c.last().GetReason())
		}
	}
}

func (c *clinic) stored(t *testing.T) (count int64) {
	t.Helper()
	require.NoError(t, c.admin.QueryRow(t.Context(), "SELECT sign_count FROM passkeys WHERE id = $1",
		strings.TrimPrefix(c.smithName, "passkeys/")).Scan(&count))
	return count
}

// Whether a passkey may be backed up is settled when it is registered; whether it is may change.
func TestDH26_EligibilityForBackupNeverChanges(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	ceremony := c.beginRegistration()
	synced := newPhone()
	synced.Options.UserHandle = c.phone.Options.UserHandle
	require.NoError(t, c.finishRegistration(ceremony.id, synced.attestation(t, ceremony.options, flagged(eligible, 0))))
	for _, way := range c.ways()[1:] {
		for _, step := range []struct {
			flags   byte
			refused bool
		}{{eligible | backedUp, false}, {0, true}, {backedUp, true}, {eligible, false}} {
			ceremony, before := way.begin(), c.kept()
			synced.credential.Counter++
			err := way.finish(ceremony.id, synced.assertion(t, ceremony.options, flagged(step.flags, 0)))
			if step.refused {
				c.refused(t, err, signing, wrong, before)
				continue
			}
			require.NoError(t, err)
			list, err := c.ListPasskeys(c.smith.Context(), &authv1.ListPasskeysRequest{})
			require.NoError(t, err)
			require.True(t, list.GetPasskeys()[1].GetBackupEligible())
			require.Equal(t, step.flags&backedUp != 0, list.GetPasskeys()[1].GetBackedUp(), "the user sees whether it is backed up")
		}
	}
}
