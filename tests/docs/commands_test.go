// Package docs tests the documents: every command in them is run, or shown to be
// what CI runs; every link leads somewhere; stated defaults are those of the code.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit"
)

// manuals hold commands that somebody types on this machine, in the order in
// which they are typed here.
func manuals(t *testing.T) []string {
	t.Helper()
	services, err := filepath.Glob(filepath.Join(devkit.Root(), "services", "*", "README.md"))
	require.NoError(t, err)
	found := []string{"README.md", "CONTRIBUTING.md", "deploy/local/README.md"}
	for _, path := range services {
		name, err := filepath.Rel(devkit.Root(), path)
		require.NoError(t, err)
		found = append(found, name)
	}
	return found
}

var (
	remark = regexp.MustCompile(`(^|\s+)# .*$`)
	spaces = regexp.MustCompile(`\s+`)
	// indented is a command in a block without a language. Such blocks hold output
	// too, so only lines that begin with a program of ours count.
	indented = regexp.MustCompile(`^ {4}((?:carekeep|auth|records|audit|backup|gateway|make|\.bin/\S+|\.ci/\S+) +\S.*)$`)
)

// commands are the command lines of a document: each line of its sh blocks, and
// what is indented in the manner of a command.
func commands(text string) []string {
	var found []string
	shell, fenced := false, false
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			shell, fenced = !fenced && line == "```sh", !fenced
			continue
		}
		if !shell {
			match := indented.FindStringSubmatch(line)
			if fenced || match == nil {
				continue
			}
			line = match[1]
		}
		line = spaces.ReplaceAllString(strings.TrimSpace(remark.ReplaceAllString(line, "")), " ")
		if line != "" {
			found = append(found, line)
		}
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(devkit.Root(), name))
	require.NoError(t, err)
	return string(raw)
}

// documents are all Markdown files of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(devkit.Root(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			name, err := filepath.Rel(devkit.Root(), path)
			require.NoError(t, err)
			found = append(found, name)
		}
		return nil
	}))
	return found
}

func TestCommandsAreFoundInEveryNotation(t *testing.T) {
	t.Parallel()
	text := "Text.\n```sh\nmake up   # says what\n# only a remark\na b \\\n  --c=d#e\n```\n\n    carekeep  audit list\n    size   4711\n```json\nmake none\n```\n"
	require.Equal(t, []string{"make up", "a b --c=d#e", "carekeep audit list"}, commands(text))
}

func TestEveryCommandHasARowAndEveryRowACommand(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, name := range manuals(t) {
		for _, command := range commands(read(t, name)) {
			row := rowOf(command)
			if row == nil {
				t.Errorf("%s: nothing runs `%s`: add a row for it to the table in rows_test.go", name, command)
				continue
			}
			used[row.like] = true
		}
	}
	for _, row := range rows {
		require.True(t, used[row.like], "no document has a command like `%s`: take its row out of the table", row.like)
	}
}
