package stack

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestServersComeBack runs the parts that are not ours, without the services.
func TestServersComeBack(t *testing.T) {
	t.Parallel()
	var said spoken
	s := &Stack{opts: Options{Stdout: nil}, parts: map[string]*part{}}
	require.NoError(t, s.prepare())
	t.Cleanup(s.Close)
	require.NoError(t, compile(t.Context(), "deploy/local", s.Binary("carekeep-local")))
	names := []string{"postgres", "transit", "broker"}
	for _, name := range names {
		s.part(name).say = said.say
		require.NoError(t, s.part(name).begin(t.Context()), name)
	}
	require.NoError(t, s.adopt(t.Context()))
	require.NoError(t, s.adopt(t.Context()), "the cluster is known now")
	require.NoError(t, s.save())
	s.supervise()
	pids := map[string]int{}
	for _, name := range names {
		pids[name] = s.Pid(name)
		s.Kill(name)
	}
	require.NoError(t, s.WaitReady(t.Context()), said.String())
	for _, name := range names {
		require.NotEqual(t, pids[name], s.Pid(name))
		pids[name] = s.Pid(name)
	}
	s.Stop("broker")
	require.Error(t, s.brokerReady(t.Context()))
	require.NoError(t, s.WaitReady(t.Context()), "a part that is stopped by hand is not waited for")
	require.NoError(t, s.Resume(t.Context(), "broker"))

	conn, err := s.AdminDB(t.Context(), "audit")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	found, err := Attach(s.Dir)
	require.NoError(t, err)
	require.Equal(t, s.PostgresData, found.PostgresData)
	require.Equal(t, s.URL(), found.URL())

	owner, err := s.AdminDB(t.Context(), "auth")
	require.NoError(t, err)
	_, err = owner.Exec(t.Context(), "CREATE TABLE public.left_over ()")
	require.NoError(t, err)
	require.NoError(t, owner.Close(t.Context()))
	require.NoError(t, os.Remove(s.path("postgres", "cluster")))
	require.ErrorContains(t, s.adopt(t.Context()), "remove "+s.PostgresData+" too")

	s.Close()
	for _, name := range names {
		require.ErrorIs(t, syscall.Kill(pids[name], 0), syscall.ESRCH, name)
	}
	require.NoDirExists(t, s.Dir)
}
