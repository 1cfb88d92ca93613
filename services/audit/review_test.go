package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// reviewing connects to a replica as the gateway does.
func (s *suite) reviewing(r *replica) auditv1.LogReviewServiceClient {
	s.t.Helper()
	conn, err := identity(s.t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return auditv1.NewLogReviewServiceClient(conn)
}

func prepare(t *testing.T, reviews auditv1.LogReviewServiceClient) *auditv1.LogReviewTask {
	t.Helper()
	task, err := reviews.PrepareLogReview(as(t, practiceA, everything...), &auditv1.PrepareLogReviewRequest{})
	require.NoError(t, err)
	return task
}

func attest(task *auditv1.LogReviewTask) *auditv1.CreateLogReviewRequest {
	return &auditv1.CreateLogReviewRequest{FromSeq: task.GetFromSeq(), ToSeq: task.GetToSeq(), RootHash: task.GetRootHash(), Findings: "entry 3 was explained"}
}

func TestDTD10_AReviewSignsARangeOfTheLog(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	glass := func(e *auditv1.Event) { e.Action, e.Risk = accessv1.Action_ACTION_BREAK_GLASS, auditv1.Risk_RISK_HIGH }
	p.await(p.send(append(batchOf(300), event(glass), event(glass, practice(practiceB)), event(), event(glass))...))
	reviews := s.reviewing(r)
	task := prepare(t, reviews)
	require.Zero(t, task.GetFromSeq())
	require.EqualValues(t, 304, task.GetToSeq())
	var openings []int64
	for _, e := range task.GetOpenings() {
		openings = append(openings, e.GetSeq())
	}
	require.Equal(t, []int64{300, 303}, openings, "every emergency opening of the practice, and of no other")
	require.Greater(t, len(task.GetSample()), 15)
	for _, e := range task.GetSample() {
		require.Equal(t, practiceA.String(), e.GetEvent().GetPracticeId())
		require.False(t, slices.Contains(openings, e.GetSeq()))
	}

	made, err := reviews.CreateLogReview(as(t, practiceA, everything...), attest(task))
	require.NoError(t, err)
	keys := s.trust().Keys
	signed, err := note.Open([]byte(made.GetNote()), keys)
	require.NoError(t, err)
	require.Contains(t, signed.Text, fmt.Sprintf("%s review\nid %s\npractice %s\nreviewer %s\nentries 0 to 304\nroot ", logName, made.GetName()[11:], practiceA, officer))
	require.NotContains(t, made.GetNote(), "explained")
	var stored string
	require.NoError(t, s.as("").QueryRow(context.Background(), "SELECT findings FROM log_reviews").Scan(&stored))
	require.NotContains(t, stored, "explained", "findings are sealed")

	listed, err := reviews.ListLogReviews(as(t, practiceA, everything...), &auditv1.ListLogReviewsRequest{})
	require.NoError(t, err)
	require.Len(t, listed.GetLogReviews(), 1)
	require.Equal(t, "entry 3 was explained", listed.GetLogReviews()[0].GetFindings())
	none, err := reviews.ListLogReviews(as(t, practiceB, everything...), &auditv1.ListLogReviewsRequest{})
	require.NoError(t, err)
	require.Empty(t, none.GetLogReviews())
	entries := list(t, s.client(r), practiceA, &auditv1.ListEntriesRequest{Action: accessv1.Action_ACTION_LOG_REVIEW})
	require.Len(t, entries, 1, "one event")
	require.Equal(t, made.GetName(), entries[0].GetEvent().GetResource())
	require.EqualValues(t, 304, prepare(t, reviews).GetFromSeq(), "the next one begins where this one ended")
}

func TestDTD10_AReviewThatAttestsNothingIsRefused(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(batchOf(20)...))
	reviews := s.reviewing(r)
	task := prepare(t, reviews)
	refused := func(change func(*auditv1.CreateLogReviewRequest)) string {
		request := attest(task)
		change(request)
		_, err := reviews.CreateLogReview(as(t, practiceA, everything...), request)
		require.Error(t, err)
		return errs.ReasonOf(err)
	}
	require.Equal(t, "REVIEW_ROOT_DIFFERS", refused(func(r *auditv1.CreateLogReviewRequest) { r.RootHash[0] ^= 1 }))
	task = prepare(t, reviews)
	require.Equal(t, "REVIEW_LEAVES_GAP", refused(func(r *auditv1.CreateLogReviewRequest) { r.FromSeq = 5 }))
	require.Equal(t, "LOG_TOO_SMALL", refused(func(r *auditv1.CreateLogReviewRequest) { r.ToSeq = 1 << 40 }))
	_, err := reviews.CreateLogReview(as(t, practiceA, everything...), attest(task))
	require.NoError(t, err)

	// What follows are the officer's own requests, this review among them.
	own := prepare(t, reviews)
	require.Positive(t, own.GetToSeq()-own.GetFromSeq())
	_, err = reviews.CreateLogReview(as(t, practiceA, everything...), attest(own))
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Equal(t, "REVIEW_OF_OWN_ACTS", errs.ReasonOf(err))
	other := asUser(t, drSmith, practiceA, time.Now(), everything...)
	_, err = reviews.CreateLogReview(other, attest(own))
	require.NoError(t, err, "somebody else may")

	_, err = reviews.PrepareLogReview(as(t, practiceA, accessv1.Permission_PERMISSION_AUDIT_REVIEWS_LIST), &auditv1.PrepareLogReviewRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestDTD10_AWeekWithoutAReviewRaisesAnAlert(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	r := s.writer()
	p := s.producer("records")
	p.await(p.send(event(), event(practice(practiceB))))
	reviews := s.reviewing(r)
	overdue := func(practice uuid.UUID) (n int) {
		var count int
		require.NoError(t, s.as("").QueryRow(context.Background(),
			"SELECT count(*) FROM alerts WHERE reason = 'LOG_REVIEW_OVERDUE' AND practice_id = $1 AND risk = 3", practice).Scan(&count))
		return count
	}
	watch := func(after time.Duration, a, b int) {
		t.Helper()
		s.shift.Store(int64(after))
		require.NoError(t, r.reviews.Watch(context.Background()))
		require.Equal(t, []int{a, b}, []int{overdue(practiceA), overdue(practiceB)}, "after %s", after)
	}
	const day = 24 * time.Hour
	watch(6*day, 0, 0)
	_, err := reviews.CreateLogReview(asUser(t, officer, practiceA, time.Now().Add(6*day), everything...), attest(func() *auditv1.LogReviewTask {
		task, err := reviews.PrepareLogReview(asUser(t, officer, practiceA, time.Now().Add(6*day), everything...), &auditv1.PrepareLogReviewRequest{})
		require.NoError(t, err)
		return task
	}()))
	require.NoError(t, err)
	watch(8*day, 0, 1)
	watch(8*day, 0, 1)
	watch(14*day, 1, 1)
	watch(16*day, 1, 2)
	require.NoError(t, s.verify().Err())
}
