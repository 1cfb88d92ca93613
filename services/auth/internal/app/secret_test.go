package app_test

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

// Everything that opens something is looked for in everything that is kept:
// each table as text, and the log at its most talkative.
func TestDMD03_NothingThatOpensAnythingIsStoredInTheClear(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	w.Inbox.Refuse(true) // so that an invitation stays in the queue
	request := &authv1.CreatePracticeRequest{DisplayName: "Elm Street", AdminUsername: "erin", AdminEmail: "erin@example.org"}
	_, err := w.Auth.CreatePractice(root.Context(), request)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(w.Log.String(), "mail was not sent") }, 20*time.Second, 10*time.Millisecond)
	weak, err := root.TrySignIn(w.Auth, testkit.Password, "")
	require.NoError(t, err)
	_, err = root.TrySignIn(w.Auth, "wrong-password-of-the-test", "")
	require.Error(t, err)
	callerToken, err := root.Admit(w.Auth, records, false)
	require.NoError(t, err)
	stored := dump(t, w)

	w.Inbox.Refuse(false)
	w.Clock.Advance(time.Minute)
	invitation := ""
	require.Eventually(t, func() bool {
		if len(w.Inbox.Messages(request.GetAdminEmail())) == 0 {
			return false
		}
		invitation = w.Inbox.Invitation(request.GetAdminEmail(), 1)
		return true
	}, 30*time.Second, 20*time.Millisecond)

	w.Clock.Advance(time.Minute)
	reset := resetToken(t, w, root)
	stored += dump(t, w)

	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(root.Secret)
	require.NoError(t, err)
	for what, secret := range map[string]string{
		"session token": root.Session, "single-factor token": weak.GetSessionToken(), "invitation token": invitation, "reset token": reset, "proof of the device token": root.Device[strings.Index(root.Device, ".")+1:],
		"password": testkit.Password, "wrong password": "wrong-password-of-the-test",
		"TOTP secret": root.Secret, "TOTP secret, raw": hex.EncodeToString(raw),
		"caller token": callerToken, "mail address": root.Email, "invited mail address": request.GetAdminEmail(),
	} {
		require.NotEmpty(t, secret, what)
		body := prefix.ReplaceAllString(secret, "")
		body = body[:min(len(body), 12)] // a part of a secret is too much
		for _, spelling := range []string{body, hex.EncodeToString([]byte(body))} {
			require.NotContains(t, stored, spelling, "%s is in a table", what)
			require.NotContains(t, w.Log.String(), spelling, "%s is in the log", what)
		}
	}
	require.Contains(t, stored, "Elm Street", "the dump does hold what is stored")
	require.Contains(t, stored, hex.EncodeToString([]byte("root")), "and the outbox's bytes")
}

// prefix says what kind of token it is, which is no secret.
var prefix = regexp.MustCompile(`^ck[a-z]_`)

// dump is every row of every table as text; bytes are in hexadecimal.
func dump(t *testing.T, w *testkit.World) string {
	t.Helper()
	var all strings.Builder
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		rows, err := conn.Query(ctx, "SELECT relname FROM pg_stat_user_tables")
		require.NoError(t, err)
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Greater(t, len(tables), 10)
		for _, table := range tables {
			rows, err := conn.Query(ctx, "SELECT t::text FROM "+pgx.Identifier{table}.Sanitize()+" t")
			require.NoError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			all.WriteString(strings.Join(lines, "\n"))
		}
	})
	return all.String()
}
