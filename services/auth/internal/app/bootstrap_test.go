package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestBootstrapMakesOneSuperadmin(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	results := make(chan string, 4)
	for _, name := range []string{"root1", "root2", "root3", "root4"} {
		go func() {
			token, err := app.Bootstrap(w.Context(), w.Settings, w.Options(), name, name+"@example.org")
			if err != nil && errs.ReasonOf(err) != "SUPERADMIN_EXISTS" {
				t.Error(err)
			}
			if err != nil {
				token = ""
			}
			results <- token
		}()
	}
	made := 0
	for range 4 {
		if token := <-results; token != "" {
			made++
		}
	}
	require.Equal(t, 1, made)

	events := w.Events()
	require.Len(t, events, 1)
	require.Equal(t, "jobs/Bootstrap", events[0].GetMethod())
	require.Equal(t, auditv1.Risk_RISK_HIGH, events[0].GetRisk())
	require.Contains(t, events[0].GetResource(), "users/")
}

func TestALostBootstrapTokenCanBeReplacedUntilItIsUsed(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	run := func(username string) (string, error) {
		return app.Bootstrap(w.Context(), w.Settings, w.Options(), username, "root@example.org")
	}
	accept := func(token string) error {
		_, err := w.Auth.AcceptInvitation(w.Context(), &authv1.AcceptInvitationRequest{
			InvitationToken: token, Password: testkit.Password, Client: &authv1.Client{Address: "192.0.2.1"},
		})
		return err
	}
	_, err := run("R")
	require.Equal(t, "USERNAME_INVALID", errs.ReasonOf(err))
	lost, err := run("Root")
	require.NoError(t, err)
	_, err = run("other")
	require.Equal(t, "SUPERADMIN_EXISTS", errs.ReasonOf(err))
	w.Clock.Advance(48 * time.Hour)
	requireReason(t, accept(lost), codes.Unauthenticated, "INVITATION_INVALID")
	second, err := run("root")
	require.NoError(t, err)
	requireReason(t, accept(lost), codes.Unauthenticated, "INVITATION_INVALID")
	require.NoError(t, accept(second))
	_, err = run("root")
	require.Equal(t, "SUPERADMIN_EXISTS", errs.ReasonOf(err), "whoever runs the command cannot take the account over")
}
