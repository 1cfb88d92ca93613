package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/libs/devkit"
)

// dryRuns are the targets that a test must not run, with what they do. CI runs
// lint, check-generated (which is generate, and a comparison) and test.
var dryRuns = map[string][]string{
	"test":     {`(?m)^cd deploy/local/transit && .*go test \./\.\.\.$`, `(?m)^go test .*\./libs/\.\.\. .*\./services/ctl/\.\.\. .*\./tests/\.\.\.$`},
	"lint":     {`(?m)^buf lint proto$`, `(?m)^golangci-lint run .*\./tests/\.\.\.$`},
	"generate": {`(?m)^buf generate$`},
	"bench":    {`(?m)^go run \./tests/bench$`, `(?m)^go test -run '\^\$' -bench '([^']+)' (.*) \|`},
}

// described shows what a command would do that must not run inside a test.
func described(s *terminal, t *testing.T, command string) {
	target := strings.TrimPrefix(command, "make ")
	would := s.must(t, "make -n "+target)
	require.Contains(t, dryRuns, target)
	for _, line := range dryRuns[target] {
		require.Regexp(t, line, would)
	}
	if target == "bench" {
		found := regexp.MustCompile(dryRuns[target][1]).FindStringSubmatch(would)
		requireBenchmarks(t, strings.Split(found[1], "|"), strings.Fields(found[2]))
	}
}

// requireBenchmarks looks for a benchmark of each name in the packages.
func requireBenchmarks(t *testing.T, names, packages []string) {
	t.Helper()
	var source strings.Builder
	for _, pattern := range packages {
		top := filepath.Join(devkit.Root(), strings.TrimSuffix(pattern, "/..."))
		require.NoError(t, filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			source.Write(raw)
			return err
		}))
	}
	for _, name := range names {
		require.Regexp(t, `func Benchmark\w*`+name, source.String())
	}
}

func TestCIRunsLintGeneratedCodeAndTests(t *testing.T) {
	t.Parallel()
	var steps []string
	for line := range strings.Lines(read(t, ".ci/run")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			steps = append(steps, line)
		}
	}
	require.Equal(t, []string{
		"set -euo pipefail", `cd "$(dirname "$0")/.."`,
		"make --no-print-directory lint", "make --no-print-directory check-generated", "make --no-print-directory test",
	}, steps)
	s := newTerminal(t)
	require.Contains(t, s.must(t, "make -n check-generated"), "buf generate\n")
	would := strings.Split(strings.TrimSpace(s.must(t, "make -n test")), "\n")
	require.Regexp(t, `^go test `, would[len(would)-1], "the output ends with that of go test")
}

func TestEveryNamedTargetExists(t *testing.T) {
	t.Parallel()
	named, makefile := regexp.MustCompile("`make ([a-z-]+)`"), read(t, "Makefile")
	for _, document := range documents(t) {
		for _, match := range named.FindAllStringSubmatch(read(t, document), -1) {
			require.Regexp(t, `(?m)^`+match[1]+`:.*## \S`, makefile, "%s: make %s", document, match[1])
		}
	}
}

func TestTheDocumentedPortsAreTheDefaults(t *testing.T) {
	t.Parallel()
	text := read(t, "deploy/local/README.md")
	for i := range reflect.TypeFor[stack.Ports]().NumField() {
		field := reflect.TypeFor[stack.Ports]().Field(i)
		part, _ := strings.CutSuffix(field.Tag.Get("name"), "-port")
		require.Regexp(t, `\b`+part+` `+field.Tag.Get("default")+`\b`, text, "the port of %s", part)
	}
	example := regexp.MustCompile("`--([a-z]+)-port`, `CAREKEEP_([A-Z]+)_PORT`").FindStringSubmatch(text)
	require.NotEmpty(t, example)
	require.Equal(t, strings.ToUpper(example[1]), example[2])
}
