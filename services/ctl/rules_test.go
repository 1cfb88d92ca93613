package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func snooping() *auditv1.Detection {
	return &auditv1.Detection{
		DetectionId: someID, RuleId: "SNOOPING", Title: "A user tries charts", Risk: auditv1.Risk_RISK_HIGH, UserId: someID,
		Seq: 9, FirstSeq: 7, Count: 2, CreateTime: timestamppb.New(epoch),
	}
}

const snoopingLine = "2026-11-21 13:04:22 HIGH SNOOPING user/" + someID + ": A user tries charts (entries 7–9, held 2×)\n"

func TestRulesAreListed(t *testing.T) {
	g := signedIn(t)
	problem := ""
	g.on(t, "GET /v1/audit/rules", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &auditv1.ListRulesResponse{Problem: problem, Rules: []*auditv1.DetectionRule{{
			RuleId: "SNOOPING", Title: "A user tries charts", About: "It sees refusals.", Risk: auditv1.Risk_RISK_HIGH,
			On: []accessv1.Action{accessv1.Action_ACTION_READ}, When: "a &&\n  b", By: []string{"user_id"}, QuietSeconds: 3600, Actions: []string{"freeze_user"},
		}, {RuleId: "CLOCK_ROLLBACK", Title: "The clock", Risk: auditv1.Risk_RISK_CRITICAL, When: "c"}}})
	})
	got := g.run(t, "", "audit", "rules", "list")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "RULE            RISK      ONCE FOR    WITHIN  ACTIONS      TITLE\n"+
		"SNOOPING        HIGH      user_id     1h0m0s  freeze_user  A user tries charts\n"+
		"CLOCK_ROLLBACK  CRITICAL  everything  0s      -            The clock\n", got.out)
	require.Empty(t, got.err)
	problem = "line 3: it is wrong"
	got = g.run(t, "", "audit", "rules", "list", "--long")
	require.Zero(t, got.code)
	require.Contains(t, got.out, "SNOOPING (HIGH): A user tries charts\n  on    READ\n  when  a && b\n  once  for user_id within 1h0m0s\n  then  freeze_user\n  It sees refusals.\n")
	require.Contains(t, got.err, "not in force:\nline 3")
}

func TestRulesAreTriedOnHistory(t *testing.T) {
	g := signedIn(t)
	complete := true
	var asked *auditv1.TestRulesRequest
	g.on(t, "POST /v1/audit/rules:test", func(w http.ResponseWriter, r *http.Request) {
		asked = new(auditv1.TestRulesRequest)
		if !take(t, r, asked) {
			return
		}
		if strings.Contains(string(asked.GetRules()), "wrong") {
			fail(w, http.StatusBadRequest, errs.New(errs.KindInvalid, "RULES_INVALID", "the rules are not valid").WithField("rules", "line 2: unknown key"))
			return
		}
		answer(w, &auditv1.TestRulesResponse{
			Entries: 1234, Complete: complete, StoppedTime: timestamppb.New(epoch), Detections: []*auditv1.Detection{snooping()},
			Totals: []*auditv1.RuleTotal{{RuleId: "SNOOPING", Risk: auditv1.Risk_RISK_HIGH, Detections: 1, Held: 2}},
		})
	})
	file := write(t, "rules.yaml", []byte("version: 1\n"))
	got := g.run(t, "", "audit", "rules", "test", file, "--from", "2026-11-01", "--to", "2026-11-21")
	require.Zero(t, got.code, got.err)
	require.Equal(t, snoopingLine+"\nRULE      RISK  FIRED  HELD\nSNOOPING  HIGH  1      2\n", got.out)
	require.Contains(t, got.err, "1234 entries were looked at")
	require.Equal(t, "version: 1\n", string(asked.GetRules()))
	require.Equal(t, "2026-11-01T00:00:00Z", asked.GetFromTime().AsTime().Format("2006-01-02T15:04:05Z07:00"))
	require.Equal(t, "2026-11-21T00:00:00Z", asked.GetToTime().AsTime().Format("2006-01-02T15:04:05Z07:00"))

	complete = false
	got = g.run(t, "", "audit", "rules", "test")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, "the time ran out; nothing after 2026-11-21 13:04:22 was looked at")
	require.Nil(t, asked.GetFromTime())

	got = g.run(t, "", "audit", "rules", "test", write(t, "bad.yaml", []byte("wrong")))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, "line 2: unknown key")
	got = g.run(t, "", "audit", "rules", "test", write(t, "empty.yaml", nil))
	require.Contains(t, got.err, "empty")
	got = g.run(t, "", "audit", "rules", "test", "--from", "yesterday")
	require.Contains(t, got.err, "--from: a time is like")
}

func TestDetectionsAreListedInPages(t *testing.T) {
	g := signedIn(t)
	var queries []string
	g.on(t, "GET /v1/audit/detections", func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		page := &auditv1.ListDetectionsResponse{Detections: []*auditv1.Detection{snooping()}}
		if r.URL.Query().Get("pageToken") == "" {
			page.NextPageToken = "more"
		}
		answer(w, page)
	})
	got := g.run(t, "", "audit", "detections", "list", "--rule", "SNOOPING", "--user", "users/"+someID)
	require.Zero(t, got.code, got.err)
	require.Equal(t, snoopingLine+snoopingLine, got.out)
	require.Equal(t, []string{
		"pageSize=100&ruleId=SNOOPING&userId=" + someID, "pageSize=99&pageToken=more&ruleId=SNOOPING&userId=" + someID,
	}, queries)
	got = g.run(t, "", "audit", "detections", "list", "--limit", "1")
	require.Equal(t, snoopingLine, got.out)
	require.Contains(t, got.err, "--limit 0 lists all")
	require.NotZero(t, g.run(t, "", "audit", "detections", "list", "--limit", "-1").code)
	require.NotZero(t, g.run(t, "", "audit", "detections", "list", "--user", "x").code)
}
