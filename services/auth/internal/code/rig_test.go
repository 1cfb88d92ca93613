package code_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) {
	// Each step is a call over the network, with a mail in between: a hundred sequences take a minute.
	_ = flag.Set("rapid.checks", "15")
	testkit.Main(m)
}

// rig is an installation with one doctor, as the gateway reaches it.
type rig struct {
	*testkit.World
	codes  authv1.CodeServiceClient
	admin  *testkit.Person
	doctor *testkit.Person
}

// wide is for tests that ask more often than the limits of sign-ins and requests let people.
func wide(s *app.Settings) {
	s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000
}

func newRig(t *testing.T, mods ...func(*app.Settings)) *rig {
	t.Helper()
	w := testkit.New(t, append(mods, wide)...)
	r := &rig{World: w, codes: authv1.NewCodeServiceClient(w.Auth.Dial("gateway"))}
	r.admin = w.NewPractice(w.Superadmin(), "alice")
	r.doctor = w.NewUser(r.admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	return r
}

// password opens one more session of the doctor with the password alone.
func (r *rig) password() *authv1.SignInResponse {
	r.T.Helper()
	opened, err := r.doctor.TrySignIn(r.Auth, testkit.Password, "")
	require.NoError(r.T, err)
	require.Equal(r.T, accessv1.Assurance_ASSURANCE_AAL1, opened.GetAssurance())
	r.doctor.Session = opened.GetSessionToken()
	return opened
}

func (r *rig) exec(sql string, args ...any) {
	r.T.Helper()
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, sql, args...)
		require.NoError(r.T, err)
	})
}

func (r *rig) last() *auditv1.Event {
	r.T.Helper()
	events := r.Events()
	return events[len(events)-1]
}

// email sends the n-th code by mail and returns its challenge and the code.
func (r *rig) email(n int) (challenge, code string) {
	r.T.Helper()
	sent, err := r.codes.SendEmailCode(r.doctor.Context(), &authv1.SendEmailCodeRequest{})
	require.NoError(r.T, err)
	require.WithinDuration(r.T, r.Clock.Now().Add(10*time.Minute), sent.GetExpireTime().AsTime(), 0, "ASVS 6.5.5")
	return sent.GetChallenge(), r.Inbox.Code(r.doctor.Email, n)
}

func (r *rig) verify(ctx context.Context, challenge, code string) (*authv1.SignInResponse, error) {
	return r.codes.VerifyEmailCode(ctx, &authv1.VerifyEmailCodeRequest{Challenge: challenge, Code: code})
}

func (r *rig) requireReason(err error, reason string) {
	r.T.Helper()
	require.Equal(r.T, reason, errs.ReasonOf(err), "%v", err)
}

// other is a code that differs from the given one.
func other(code string) string {
	if code == "00000000" {
		return "11111111"
	}
	return "00000000"
}
