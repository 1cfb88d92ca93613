package seed_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

func TestSeedingIsIdempotentAndGoesOnAfterABreak(t *testing.T) {
	t.Parallel()
	s := stack.ForTest(t, stack.Options{})
	people, err := seed.Run(t.Context(), s.Place)
	require.NoError(t, err)
	before := contents(t, s.Credentials())
	info, err := os.Stat(s.Credentials())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	for _, p := range people.People {
		self := self(t, s.Place, p)
		require.Equal(t, p.User, self.GetUser().GetName())
		require.Equal(t, p.Role, self.GetUser().GetRole())
		require.Equal(t, people.Practices[p.Practice], self.GetUser().GetPractice())
		require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, self.GetAssurance())
	}
	mails := len(s.Messages())
	_, err = seed.Run(t.Context(), s.Place)
	require.NoError(t, err)
	require.Equal(t, before, contents(t, s.Credentials()))
	require.Len(t, s.Messages(), mails, "a second run does nothing")

	// Broken off before the receptionist was written down, and after that.
	receptionist := people.Person(seed.Receptionist)
	user := receptionist.User
	receptionist.User, receptionist.Ready = "", false
	raw, err := json.Marshal(people)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.Credentials(), raw, 0o600))
	again, err := seed.Run(t.Context(), s.Place)
	require.NoError(t, err)
	require.Equal(t, user, again.Person(seed.Receptionist).User)
	require.Equal(t, before, contents(t, s.Credentials()))
}

func TestLoadSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := seed.Load(t.TempDir() + "/credentials.json")
	require.ErrorContains(t, err, "make up")
}

func contents(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}

func self(t *testing.T, place *stack.Place, p *seed.Person) *authv1.Self {
	t.Helper()
	var client *api.Client
	client, err := seed.SignIn(t.Context(), place, p)
	require.NoError(t, err)
	var self authv1.Self
	require.NoError(t, client.Call(t.Context(), http.MethodGet, "/v1/self", nil, &self))
	return &self
}
