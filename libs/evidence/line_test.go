package evidence_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
)

var at = timestamppb.New(time.Date(2026, 3, 1, 13, 4, 22, 999_000_000, time.UTC))

func TestDH38_GoldenLines(t *testing.T) {
	const read, ok = accessv1.Action_ACTION_READ, auditv1.Outcome_OUTCOME_OK
	for want, e := range map[string]*auditv1.Event{
		"13:04:22 READ dr.smith→patient/1234 [OK]":          {Username: "dr.smith", PatientId: "1234", Action: read, Outcome: ok},
		"13:04:22 UPDATE dr.smith→patient/1/notes/2 [OK]":   {Username: "dr.smith", PatientId: "1", Resource: "notes/2", Action: accessv1.Action_ACTION_UPDATE, Outcome: ok},
		"13:04:22 RESTORE root→backups/7 [FAILED]":          {Username: "root", Resource: "backups/7", Action: accessv1.Action_ACTION_RESTORE, Outcome: auditv1.Outcome_OUTCOME_FAILED},
		"13:04:22 SIGN_IN eve→- [DENIED]":                   {Username: "eve", Action: accessv1.Action_ACTION_SIGN_IN, Outcome: auditv1.Outcome_OUTCOME_DENIED},
		"13:04:22 ROLE_CHANGE -→- [OK]":                     {Action: accessv1.Action_ACTION_ROLE_CHANGE, Outcome: ok},
		`13:04:22 READ \u{2d}→\u{2d} [OK]`:                  {Username: "-", Resource: "-", Action: read, Outcome: ok},
		`13:04:22 READ x→\u{70}atient/9 [OK]`:               {Username: "x", Resource: "patient/9", Action: read, Outcome: ok},
		`13:04:22 READ x→patient/a\u{2f}b/notes/1 [OK]`:     {Username: "x", PatientId: "a/b", Resource: "notes/1", Action: read, Outcome: ok},
		"13:04:22 READ jürgen.müller→patient/1 [OK]":        {Username: "jürgen.müller", PatientId: "1", Action: read, Outcome: ok},
		"13:04:22 UNSPECIFIED x→- [UNSPECIFIED]":            {Username: "x", Action: 99},
		`13:04:22 READ a\x{ff}b\u{fffd}→patient/1 [OK]`:     {Username: "a\xffb\uFFFD", PatientId: "1", Action: read, Outcome: ok},
		`13:04:22 READ a\u{20}b\u{5c}u{20}→patient/1 [OK]`:  {Username: `a b\u{20}`, PatientId: "1", Action: read, Outcome: ok},
		`13:04:22 READ \u{202e}nimda→patient/1 [OK]`:        {Username: "\u202enimda", PatientId: "1", Action: read, Outcome: ok},
		`13:04:22 READ a\u{2192}b\u{5b}OK\u{5d}→x [DENIED]`: {Username: "a→b[OK]", Resource: "x", Action: read, Outcome: auditv1.Outcome_OUTCOME_DENIED},
	} {
		e.EventTime = at
		require.Equal(t, want, evidence.Line(e))
		f, err := evidence.Parse(want)
		require.NoError(t, err, want)
		require.Equal(t, e.GetUsername(), f.Username)
		require.Equal(t, e.GetPatientId(), f.Patient)
		require.Equal(t, e.GetResource(), f.Resource)
		require.Equal(t, e.GetOutcome(), f.Outcome)
		require.Equal(t, 13*time.Hour+4*time.Minute+22*time.Second, f.Time)
	}
}

func TestDH38_NamesCannotForgeLines(t *testing.T) {
	for _, name := range []string{
		"eve→patient/1 [OK]\r\n13:04:23 READ dr.smith", "a\nb", "a\rb", "a\u2028b", "a\u0085b", "a\vb", "a\x00b", "a\x1b[2Kb", "a\u00a0b", "a\u200bb",
	} {
		line := evidence.Line(&auditv1.Event{EventTime: at, Username: name, Action: accessv1.Action_ACTION_SIGN_IN, Outcome: auditv1.Outcome_OUTCOME_DENIED})
		require.Len(t, strings.Split(line, " "), 4, line)
		require.Equal(t, 1, strings.Count(line, "→"))
		require.Equal(t, 1, strings.Count(line, "["))
		for _, r := range line {
			require.True(t, unicode.IsGraphic(r), "%q holds %U", line, r)
		}
		f, err := evidence.Parse(line)
		require.NoError(t, err)
		require.Equal(t, name, f.Username)
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, f.Outcome)
	}
}

func TestDH38_LinesRoundTrip(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("-/→[]\\{}u 2dpatient\r\n"))),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		want := evidence.Fields{
			Time:     time.Duration(rapid.IntRange(0, 86399).Draw(t, "time")) * time.Second,
			Action:   accessv1.Action(rapid.SampledFrom(slices.Sorted(maps.Keys(accessv1.Action_name))).Draw(t, "action")),
			Username: text.Draw(t, "user"), Patient: text.Draw(t, "patient"), Resource: text.Draw(t, "resource"),
			Outcome: auditv1.Outcome(rapid.IntRange(0, 3).Draw(t, "outcome")),
		}
		line := want.String()
		got, err := evidence.Parse(line)
		if err != nil || got != want {
			t.Fatalf("%q reads as %+v, %v, not %+v", line, got, err, want)
		}
	})
}

func TestDH38_ParseRefusesWhatLineCannotWrite(t *testing.T) {
	for _, line := range []string{
		"", "13:04:22 READ a→b [OK", "13:04:22 READ a→b OK", "13:04:22 READ a→b [OK] ", "1:04:22 READ a→b [OK]", "25:04:22 READ a→b [OK]",
		"13:04:22 read a→b [OK]", "13:04:22 FLY a→b [OK]", "13:04:22 READ ab [OK]", "13:04:22 READ →b [OK]", "13:04:22 READ a→ [OK]",
		"13:04:22 READ a→b→c [OK]", "13:04:22 READ a→patient/ [OK]", "13:04:22 READ a→patient/1/ [OK]", `13:04:22 READ \u{61}→b [OK]`,
		`13:04:22 READ \u{}→b [OK]`, `13:04:22 READ \u{110000}→b [OK]`, `13:04:22 READ \u{d800}→b [OK]`, `13:04:22 READ \x{61}→b [OK]`, `13:04:22 READ \→b [OK]`,
		"13:04:22 READ a→b [YES]", "13:04:22.5 READ a→b [OK]", "13:04:22 READ a\n→b [OK]",
	} {
		_, err := evidence.Parse(line)
		require.Error(t, err, "%q", line)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("13:04:22 READ dr.smith→patient/1234 [OK]")
	f.Add(`13:04:22 READ a\x{ff}→patient/1/notes/2 [DENIED]`)
	f.Add(`00:00:00 SIGN_IN -→\u{2d} [FAILED]`)
	f.Fuzz(func(t *testing.T, line string) {
		fields, err := evidence.Parse(line)
		if err == nil && fields.String() != line {
			t.Fatalf("%q was read, but writes as %q", line, fields.String())
		}
	})
}
