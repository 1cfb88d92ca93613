package main

import (
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// Every command explains itself, and no flag or argument takes a secret.
func TestHelp(t *testing.T) {
	p, err := kong.New(&commands{}, kong.Name("carekeep"), kong.Vars{"cuttable": serviceNames})
	require.NoError(t, err)
	leaves := p.Model.Leaves(true)
	require.Len(t, leaves, 71)
	for _, command := range append(leaves, p.Model.Node) {
		got := carekeep(t, "", append(splitPath(command), "--help")...)
		require.Zero(t, got.code, command.Path())
		require.Contains(t, got.out, "Usage: carekeep")
		require.Empty(t, got.err)
		for _, flag := range command.Flags {
			require.NotEmpty(t, flag.Help)
			require.NotRegexp(t, "(?i)password|code|secret|token", flag.Name)
		}
	}
}

func splitPath(n *kong.Node) []string {
	if n.Parent == nil {
		return nil
	}
	return append(splitPath(n.Parent), n.Name)
}

func TestWhatIsNoCommandIsAUsageError(t *testing.T) {
	for want, args := range map[string][]string{
		"expected one of":                {},
		"unexpected argument deploy":     {"deploy"},
		"missing flags: --url=URL":       {"sign-in"},
		"unknown flag --password":        {"sign-in", "--url", "https://x", "--username", "x", "--password", "y"},
		"missing flags: --out=FILE":      {"audit", "export"},
		`expected "<file> ..."`:          {"import"},
		"missing flags: --target=FOLDER": {"backup", "restore", someID},
	} {
		got := carekeep(t, "", args...)
		require.Equal(t, misused, got.code, want)
		require.Contains(t, got.err, want)
		require.Contains(t, got.err, "--help explains")
	}
}
