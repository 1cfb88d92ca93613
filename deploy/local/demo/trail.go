package demo

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// arrivalTime is how long an event may take from its outbox to the log.
const arrivalTime = 20 * time.Second

// trail waits for the lines that the story must have left, and shows them.
func (s *story) trail(ctx context.Context) (string, error) {
	admin, err := s.as(ctx, seed.Admin)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, arrivalTime)
	defer cancel()
	id := regexp.QuoteMeta(s.chart.id)
	expected := []string{
		`SIGN_IN dr\.smith→[^ ]* \[OK\]`,
		`READ dr\.smith→patient/` + id + ` \[OK\]`,
		`SEARCH dr\.smith→patient/` + id + ` \[OK\]`,
		`LIST dr\.smith→patient/` + id + `[^ ]* \[OK\]`,
		`CREATE dr\.smith→patient/` + id + `/[^ ]* \[OK\]`,
		`READ dr\.jones→patient/` + id + ` \[DENIED\]`,
		`LIST receptionist→patient/` + id + `[^ ]* \[OK\]`,
		`LIST receptionist→[^ ]* \[DENIED\]`,
		`IMPORT admin\.riverside→patient/` + id + `[^ ]* \[OK\]`,
	}
	for {
		lines, err := s.lines(ctx, admin)
		if err != nil {
			return "", err
		}
		shown, missing := match(lines, expected)
		if len(missing) == 0 {
			return fmt.Sprintf("%d entries since the story began, such as\n%s", len(lines), strings.Join(shown, "\n")), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no entry like %s among %d", strings.Join(missing, ", "), len(lines))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lines are the entries of the practice since the story began, oldest first.
func (s *story) lines(ctx context.Context, admin *api.Client) ([]string, error) {
	var lines []string
	request := &auditv1.ListEntriesRequest{PageSize: 500, FromTime: timestamppb.New(s.begun)}
	for {
		var page auditv1.ListEntriesResponse
		if err := admin.Call(ctx, http.MethodPost, "/v1/audit/entries:list", request, &page); err != nil {
			return nil, err
		}
		for _, e := range page.GetEntries() {
			lines = append(lines, e.GetLine())
		}
		if page.GetNextPageToken() == "" {
			return lines, nil
		}
		request.PageToken = page.GetNextPageToken()
	}
}

// match finds the first line for each pattern.
func match(lines, expected []string) (shown, missing []string) {
	for _, pattern := range expected {
		form := regexp.MustCompile(`^[0-2][0-9]:[0-5][0-9]:[0-5][0-9] ` + pattern + `$`)
		found := false
		for _, line := range lines {
			if form.MatchString(line) {
				shown, found = append(shown, line), true
				break
			}
		}
		if !found {
			missing = append(missing, pattern)
		}
	}
	return shown, missing
}
