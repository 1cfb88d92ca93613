package browser

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/inbox"
)

// messageTime is how long a mail or a text message may take to arrive.
const messageTime = time.Minute

// received waits for a message to an address that came after the count of others, and
// returns what the pattern's group finds in it.
func received(t *testing.T, kind, to string, after int, pattern string) string {
	t.Helper()
	sought, found := regexp.MustCompile(pattern), []string(nil)
	require.Eventually(t, func() bool {
		messages := suite.Messages()
		for _, m := range messages[:max(0, len(messages)-after)] {
			if m.Kind == kind && slices.Contains(m.To, to) {
				if found = sought.FindStringSubmatch(m.Text); found != nil {
					return true
				}
			}
		}
		return false
	}, messageTime, 50*time.Millisecond, "no %s to %s: %v", kind, to, texts(suite.Messages()))
	return found[1]
}

func texts(messages []inbox.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, m.Kind+" to "+m.To[0]+": "+m.Text)
	}
	return all
}
