package server

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The order is part of the security argument: see stages.
func TestChainIsInOrder(t *testing.T) {
	names := []string{}
	for _, st := range (&Server{}).stages() {
		names = append(names, st.name)
	}
	require.Equal(t, []string{"audit", "recovery", "deadline", "peer", "caller", "access", "visit", "validation", "redaction"}, names)
}
