package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestFromBootstrapToADoctor(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	doctor := w.NewUser(admin, "dr.smith", accessv1.RoleKind_ROLE_KIND_DOCTOR, "")
	self, err := w.Auth.GetSelf(doctor.Context(), &authv1.GetSelfRequest{})
	require.NoError(t, err)
	require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, self.GetAssurance())
	require.Equal(t, "dr.smith", self.GetUser().GetUsername())
	require.Equal(t, admin.Practice, self.GetUser().GetPractice())
	require.True(t, self.GetUser().GetTotpConfirmed())
	require.Empty(t, self.GetUser().GetEmail(), "a doctor holds no USERS_CONTACT_READ")
}
