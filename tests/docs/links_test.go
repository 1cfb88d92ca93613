package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the fragments that the headings of a document make.
func anchors(text string) []string {
	var found []string
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return found
}

func TestRelativeLinksResolve(t *testing.T) {
	t.Parallel()
	all := documents(t)
	require.Contains(t, all, "services/ctl/README.md")
	for _, document := range all {
		for _, match := range link.FindAllStringSubmatch(read(t, document), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			path, fragment, _ := strings.Cut(match[1], "#")
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if strings.HasPrefix(target, "..") {
				t.Errorf("%s: the link to %s leaves the repository", document, match[1])
				continue
			}
			if _, err := os.Stat(filepath.Join(devkit.Root(), target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", document, match[1])
				continue
			}
			if fragment != "" {
				require.Contains(t, anchors(read(t, target)), fragment, "%s: the link to %s", document, match[1])
			}
		}
	}
}
