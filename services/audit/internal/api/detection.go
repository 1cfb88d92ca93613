package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/detect"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Findings is what the handlers of detection read.
type Findings interface {
	detect.History
	Detections(ctx context.Context, practice uuid.UUID, rule string, user uuid.UUID, after store.DetectionKey, limit int) ([]store.Detection, error)
}

// DetectionOptions are what a Detection works with; all are required.
type DetectionOptions struct {
	Log    Findings
	Places interface {
		SeqAt(ctx context.Context, at time.Time) (int64, error)
	}
	Source *detect.Source
	Zones  engine.Zones
	Keys   int
	Now    func() time.Time
}

// Detection implements DetectionService.
type Detection struct {
	auditv1.UnimplementedDetectionServiceServer
	DetectionOptions
	testing chan struct{} // holds one token for each test that runs
}

// NewDetection returns the service.
func NewDetection(o DetectionOptions) *Detection {
	return &Detection{DetectionOptions: o, testing: make(chan struct{}, 1)}
}

// ListRules implements DetectionService.
func (d *Detection) ListRules(ctx context.Context, _ *auditv1.ListRulesRequest) (*auditv1.ListRulesResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	pack := d.Source.Pack()
	out := &auditv1.ListRulesResponse{Digest: pack.Digest}
	if own == uuid.Nil {
		out.Problem = d.Source.Problem()
	}
	for _, r := range pack.Rules {
		out.Rules = append(out.Rules, describeRule(r))
	}
	return out, nil
}

func describeRule(r *rules.Rule) *auditv1.DetectionRule {
	shown := &auditv1.DetectionRule{
		RuleId: r.ID, Title: r.Title, About: strings.TrimSpace(r.About), Risk: r.Risk, When: r.When.Text,
		QuietSeconds: int32(r.Quiet.Seconds()), Actions: r.Actions, Embedded: r.Embedded,
	}
	for _, f := range r.By {
		shown.By = append(shown.By, f.Name())
	}
	for a := range r.On {
		shown.On = append(shown.On, a)
	}
	slices.SortFunc(shown.On, func(a, b accessv1.Action) int { return cmp.Compare(a, b) })
	return shown
}

// ListDetections implements DetectionService.
func (d *Detection) ListDetections(ctx context.Context, req *auditv1.ListDetectionsRequest) (*auditv1.ListDetectionsResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	var user uuid.UUID
	if id := req.GetUserId(); id != "" {
		if user, err = uuid.Parse(id); err != nil {
			return nil, invalid("user_id", "must be a UUID")
		}
	}
	after, err := readDetectionToken(req.GetPageToken(), fingerprint(req))
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	rows, err := d.Log.Detections(ctx, own, req.GetRuleId(), user, after, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListDetectionsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		out.NextPageToken = writeDetectionToken(store.DetectionKey{Time: rows[size-1].Time, ID: rows[size-1].ID}, fingerprint(req))
	}
	for _, row := range rows {
		out.Detections = append(out.Detections, describeDetection(row))
	}
	return out, nil
}

func describeDetection(x store.Detection) *auditv1.Detection {
	text := func(id uuid.UUID) string {
		if id == uuid.Nil {
			return ""
		}
		return id.String()
	}
	return &auditv1.Detection{
		DetectionId: x.ID.String(), RuleId: x.Rule, Title: x.Title, Risk: auditv1.Risk(x.Risk), UserId: text(x.User), PatientId: text(x.Patient),
		SessionId: text(x.Session), DeviceId: text(x.Device), Address: x.Address, Seq: x.Seq, FirstSeq: x.FirstSeq, Count: x.Count,
		Actions: x.Actions, CreateTime: timestamppb.New(x.Time),
	}
}

const (
	defaultTest = 24 * time.Hour
	longestTest = 31 * 24 * time.Hour
)

// TestRules implements DetectionService.
func (d *Detection) TestRules(ctx context.Context, req *auditv1.TestRulesRequest) (*auditv1.TestRulesResponse, error) {
	own, err := practice(ctx)
	if err != nil {
		return nil, err
	}
	from, to, err := d.span(req)
	if err != nil {
		return nil, err
	}
	pack := d.Source.Pack()
	if len(req.GetRules()) > 0 {
		if pack, err = rules.Read(req.GetRules()); err != nil {
			return nil, errs.Wrap(err, errs.KindInvalid, "RULES_INVALID", "the rules are not valid").WithField("rules", err.Error())
		}
	}
	select {
	case d.testing <- struct{}{}:
		defer func() { <-d.testing }()
	default:
		return nil, errs.New(errs.KindLimited, "RULES_TEST_RUNNING", "another test of rules runs now; try again in a minute")
	}
	begin, err := d.Places.SeqAt(ctx, from.Add(-pack.Window))
	if err != nil {
		return nil, err
	}
	found, err := detect.Test{Practice: own, Pack: pack, From: from, To: to, Begin: begin, Zones: d.Zones, Keys: d.Keys}.Run(ctx, d.Log)
	if err != nil {
		return nil, err
	}
	return describeTest(found), nil
}

// span is the time that a test looks at.
func (d *Detection) span(req *auditv1.TestRulesRequest) (from, to time.Time, err error) {
	for field, at := range map[string]*timestamppb.Timestamp{"from_time": req.GetFromTime(), "to_time": req.GetToTime()} {
		if at != nil && at.CheckValid() != nil {
			return from, to, invalid(field, "must be a time between the years 1 and 9999")
		}
	}
	to = d.Now()
	if req.GetToTime() != nil {
		to = req.GetToTime().AsTime()
	}
	from = to.Add(-defaultTest)
	if req.GetFromTime() != nil {
		from = req.GetFromTime().AsTime()
	}
	switch length := to.Sub(from); {
	case length <= 0:
		return from, to, invalid("to_time", "must be after from_time")
	case length > longestTest:
		return from, to, invalid("from_time", fmt.Sprintf("must be at most %d days before to_time", int(longestTest.Hours()/24)))
	}
	return from, to, nil
}

func describeTest(found detect.Tested) *auditv1.TestRulesResponse {
	out := &auditv1.TestRulesResponse{Entries: found.Entries, Complete: found.Stopped.IsZero()}
	if !out.GetComplete() {
		out.StoppedTime = timestamppb.New(found.Stopped)
	}
	slices.SortStableFunc(found.Totals, func(a, b detect.Total) int { return cmp.Compare(b.Fired, a.Fired) })
	for _, t := range found.Totals {
		out.Totals = append(out.Totals, &auditv1.RuleTotal{RuleId: t.Rule.ID, Risk: t.Rule.Risk, Detections: t.Fired, Held: t.Held})
	}
	for _, f := range found.Findings {
		out.Detections = append(out.Detections, describeDetection(detect.Shown(f)))
	}
	return out
}
