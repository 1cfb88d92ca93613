package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

// The harness needs of a FHIR server nothing but R4, so ours is measured as any other.
func TestTheHarnessTimesAnyFHIRServer(t *testing.T) {
	started := stack.ForTest(t, stack.Options{Settings: stack.Settings{"auth": {"limits.requests_per_minute": 1_000_000}}})
	seeded, err := seed.Run(t.Context(), started.Place)
	require.NoError(t, err)
	// The session is of the network that the harness, a client of its own, comes from.
	client, err := started.Client()
	require.NoError(t, err)
	smith := seeded.Person(seed.Smith)
	session, err := api.New(started.URL(), client).SignIn(t.Context(), smith.Username, smith.Password, smith.TotpSecret)
	require.NoError(t, err)
	base := "https://" + started.Address("gateway") + "/fhir/R4"
	run := &fhirServers{
		URL: []string{base, base + "/"}, Patients: 2, Seed: 5, Timeout: time.Minute, Mix: mix{Reads: 2, Searches: 1, Imports: 1},
		measured: measured{
			Header:  []string{"Authorization: Bearer " + session.GetSessionToken(), "X-Purpose-Of-Use: TREATMENT"},
			CA:      filepath.Join(started.Dir, "ca", "ca.crt"),
			Clients: 2, Length: 200 * time.Millisecond, Rounds: 1,
		},
	}
	var out bytes.Buffer
	require.NoError(t, run.Run(t.Context(), &out))
	for _, row := range []string{
		`1: import alone, one client: \d+ resources/s`, `1: reads: [1-9]\d*/s, p50 .*, 1\.00 of the first`,
		`2: searches: [1-9]\d*/s`, `2: the mix: [1-9]\d*/s`,
	} {
		require.Regexp(t, regexp.MustCompile("(?m)^"+row), out.String())
	}
	run.Header = run.Header[1:]
	require.ErrorContains(t, run.Run(t.Context(), &out), "401")
	run.Mix = mix{}
	require.ErrorContains(t, run.Run(t.Context(), &out), "must not be 0")
}
