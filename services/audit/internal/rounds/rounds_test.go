package rounds

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Rounds are made where the replica leads, go on after one that failed, and end with the context.
func TestRoundsAreMadeByWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log strings.Builder
		leading, made, ended := false, 0, false
		go func() {
			Rounds{
				Every: time.Minute, Leading: func() bool { return leading },
				Log: slog.New(slog.NewTextHandler(&log, nil)), Failed: "this round failed",
			}.Run(ctx, func(context.Context) error {
				made++
				return errors.New("why")
			})
			ended = true
		}()
		<-time.After(3*time.Minute + time.Second) // of the bubble: nothing waits
		synctest.Wait()
		require.Zero(t, made, "another leads")
		leading = true
		<-time.After(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, 2, made)
		require.Equal(t, 2, strings.Count(log.String(), "this round failed"))
		cancel()
		synctest.Wait()
		require.True(t, ended)
	})
}
