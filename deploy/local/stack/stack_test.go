package stack

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecondStackOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.False(t, Running(dir))
	lock, err := takeLock(dir)
	require.NoError(t, err)
	require.True(t, Running(dir))
	_, err = takeLock(dir)
	require.ErrorContains(t, err, "a stack runs on "+dir+" already")
	require.ErrorContains(t, err, "--data")
	_, err = Attach(dir)
	require.ErrorContains(t, err, "still starting")
	require.NoError(t, lock.Close())
	require.False(t, Running(dir))
	_, err = Attach(dir)
	require.ErrorContains(t, err, "make up")
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close() //nolint:errcheck // a test's listener
	ports := Ports{Records: taken.Addr().(*net.TCPAddr).Port}
	_, err = ports.claim()
	_, number, _ := net.SplitHostPort(taken.Addr().String())
	require.ErrorContains(t, err, "port "+number+", meant for records, is taken")
	require.ErrorContains(t, err, "--records-port")
	require.ErrorContains(t, err, "CAREKEEP_RECORDS_PORT")
}

func TestFreePortsDiffer(t *testing.T) {
	t.Parallel()
	var one, two Ports
	releaseOne, err := one.claim()
	require.NoError(t, err)
	defer releaseOne()
	releaseTwo, err := two.claim()
	require.NoError(t, err)
	defer releaseTwo()
	seen := map[int]bool{}
	for _, ports := range []*Ports{&one, &two} {
		for _, part := range ports.each() {
			require.False(t, seen[*part.port], "port %d is given twice", *part.port)
			seen[*part.port] = true
		}
	}
}

func TestStepsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	order := make(chan string, 3)
	note := func(name string) func(context.Context) error {
		return func(context.Context) error { order <- name; return nil }
	}
	steps := []step{{"last", []string{"middle", "first"}, note("last")}, {"middle", []string{"first"}, note("middle")}, {"first", nil, note("first")}}
	require.NoError(t, perform(t.Context(), steps, (&spoken{}).say))
	require.Equal(t, []string{"first", "middle", "last"}, []string{<-order, <-order, <-order})

	steps[2].do = func(context.Context) error { return errors.New("no disk") }
	require.ErrorContains(t, perform(t.Context(), steps, (&spoken{}).say), "no disk")
	require.Empty(t, order, "what waits for a failed step is not done")
	require.ErrorContains(t, perform(t.Context(), []step{{"a", []string{"b"}, nil}}, (&spoken{}).say), "nobody does")
}

func TestSettingsReachTheConfiguration(t *testing.T) {
	t.Parallel()
	config := tree{"limits": tree{"receive_bytes": 1}, "listen": "x"}
	require.NoError(t, set(config, "limits.requests_per_minute", 100000))
	require.NoError(t, set(config, "telemetry.endpoint", "127.0.0.1:4317"))
	require.Equal(t, tree{"limits": tree{"receive_bytes": 1, "requests_per_minute": 100000}, "listen": "x", "telemetry": tree{"endpoint": "127.0.0.1:4317"}}, config)
	require.ErrorContains(t, set(config, "listen.port", 1), "not a group")
	require.ErrorContains(t, (&Place{}).configure(Settings{"record": nil}), `"record"`)
}

func TestWarningsReadWell(t *testing.T) {
	t.Parallel()
	var warned []string
	log, err := openLog(t.TempDir()+"/x.log", func(line string) { warned = append(warned, line) })
	require.NoError(t, err)
	for _, piece := range []string{
		`{"time":"t","level":"WARN","msg":"not ready","service":"records","dependency":"broker","err`, `or":"refused"}` + "\n",
		`{"level":"INFO","msg":"serving"}` + "\nplain text\n",
	} {
		_, err := log.Write([]byte(piece))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"WARN not ready dependency=broker error=refused"}, warned)
	require.True(t, strings.HasSuffix(log.tail(), "plain text"))
	require.NoError(t, log.Close())
	raw, err := os.ReadFile(log.file.Name())
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(raw), "\n"))
}
