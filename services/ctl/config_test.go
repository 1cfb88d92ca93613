package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/config"
)

func TestTheExampleConfigurationLoads(t *testing.T) {
	var s databaseSettings
	require.NoError(t, config.Load("config/verify.example.yaml", &s))
	require.Equal(t, "audit_verify", s.Database.User)
}
