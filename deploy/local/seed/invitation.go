package seed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/carekeep/carekeep/deploy/local/inbox"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

// mailTime is how long a mail may take to arrive.
const mailTime = 30 * time.Second

var token = regexp.MustCompile(`\bcki_[A-Za-z0-9_-]{43}\b`)

// invitation reads the newest invitation for a mail address from the inbox, and
// waits for it.
func invitation(ctx context.Context, place *stack.Place, email string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	for {
		messages, err := mails(ctx, place)
		if err != nil {
			return "", err
		}
		for _, m := range messages {
			if found := token.FindString(m.Text); found != "" && slices.Contains(m.To, email) {
				return found, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no invitation for %s came within %s; look at %s", email, mailTime, place.InboxURL())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func mails(ctx context.Context, place *stack.Place) ([]inbox.Message, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place.InboxURL()+"/messages.json", nil)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	var messages []inbox.Message
	if err := json.NewDecoder(response.Body).Decode(&messages); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	return messages, nil
}
