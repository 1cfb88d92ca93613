package e2e

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/people"
)

// Seeds of the generator. Tests that import patients of their own use a population
// that no other test does.
const (
	population            = 42
	populationOfEntries   = 43
	populationOfHalf      = 44
	populationOfTerminals = 45
	populationOfKeeping   = 47
	populationOfLegacy    = 46
)

var users *people.People

// as is a client with an AAL2 session of a seeded person.
func as(t *testing.T, username string) *api.Client {
	t.Helper()
	client, err := users.As(t.Context(), username)
	require.NoError(t, err)
	return client
}

var imported sync.Once

// charts makes sure that the first patients of the population are dr.smith's.
func charts(t *testing.T, patients int) {
	t.Helper()
	require.LessOrEqual(t, patients, 10)
	imported.Do(func() {
		var bundle bytes.Buffer
		require.NoError(t, generator.Bundle(&bundle, generator.Options{Seed: population, Patients: 10}))
		done, err := as(t, seed.Smith).Import(t.Context(), &bundle, "", nil)
		require.NoError(t, err)
		require.Empty(t, done.Problems)
	})
}
