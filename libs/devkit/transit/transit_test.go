package transit_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/devkit/transit"
)

func TestStartedTogetherTheyBuildOnceAndStopForGood(t *testing.T) {
	authority := ca.ForTest(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := transit.Start(t.Context(), transit.Options{CA: authority, Dir: t.TempDir()})
			if err != nil {
				t.Error(err)
				return
			}
			pid := s.Pid()
			s.Stop()
			if s.Pid() != 0 || syscall.Kill(pid, 0) == nil {
				t.Error("the process is still there")
			}
		})
	}
	wg.Wait()
}

func TestAFailedStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	first, err := transit.Start(t.Context(), transit.Options{CA: ca.ForTest(t), Dir: dir})
	require.NoError(t, err)
	defer first.Stop()
	began := time.Now()
	_, err = transit.Start(t.Context(), transit.Options{CA: ca.ForTest(t), Dir: dir})
	require.ErrorContains(t, err, "in use by another process")
	require.Less(t, time.Since(began), 10*time.Second)
	_, err = transit.Start(t.Context(), transit.Options{})
	require.ErrorContains(t, err, "CA is required")
}
