package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheEmbeddedPackIsWhole(t *testing.T) {
	t.Parallel()
	p, err := Default()
	require.NoError(t, err)
	require.LessOrEqual(t, p.Window, time.Hour, "longer windows make every start of detection longer")
	risks := map[int32]bool{}
	for _, r := range p.Rules {
		require.True(t, r.Embedded)
		risks[int32(r.Risk)] = true
	}
	require.Len(t, risks, 4, "all four levels are in use (claim DH-35)")
}

const one = `version: 1
counters:
  - {name: mine, when: 'count > 3', by: user_id, distinct: patient_id, window: 1d}
rules:
  - id: HONEYPATIENT
    title: Ours
    risk: LOW
    on: [READ, LIST]
    when: |
      mine >= 3
      && outcome == "OK"
    by: [user_id, practice_id]
    quiet: 1h30m
    actions: [freeze_user, cut_service]
without: [MASS_READING]
`

func TestAFileReplacesAndLeavesOutEmbeddedRules(t *testing.T) {
	t.Parallel()
	base, err := Default()
	require.NoError(t, err)
	p, err := Read([]byte(one))
	require.NoError(t, err)
	require.Len(t, p.Rules, len(base.Rules)-1)
	require.NotEqual(t, base.Digest, p.Digest)
	var found *Rule
	for _, r := range p.Rules {
		require.NotEqual(t, "MASS_READING", r.ID)
		if r.ID == "HONEYPATIENT" {
			found = r
		}
	}
	require.False(t, found.Embedded)
	require.Equal(t, "Ours", found.Title)
	require.Equal(t, []Field{UserID, PracticeID}, found.By)
	require.Equal(t, 90*time.Minute, found.Quiet)
	require.Equal(t, []string{"freeze_user", "cut_service"}, found.Actions)
	require.Len(t, found.On, 2)
	require.Equal(t, []int{len(base.Counters)}, found.When.Counters)
	require.Equal(t, 24*time.Hour, p.Window)
}

// Each mistake is refused with its line, and with what to write instead.
func TestWhatIsWrongIsSaidWithItsLine(t *testing.T) {
	t.Parallel()
	for change, want := range map[string]string{
		"version: 1→version: 2":                           "version: 1",
		"    title: Ours→    titel: Ours":                 `line 6: unknown key "titel"`,
		"title: Ours→title: ''":                           "line 6: rule HONEYPATIENT: title",
		"id: HONEYPATIENT→id: honey":                      `line 5: a rule needs an id of capitals`,
		"risk: LOW→risk: SEVERE":                          "line 7: rule HONEYPATIENT: risk: use LOW, MEDIUM, HIGH or CRITICAL",
		"[READ, LIST]→[READ, LOOK]":                       `line 8: rule HONEYPATIENT: on: "LOOK" is no action; there are`,
		`outcome == "OK"→outcome == "FINE"`:               `line 11: rule HONEYPATIENT: when: outcome is never "FINE"; it is one of DENIED, FAILED, OK`,
		`outcome == "OK"→outcome in ["OK", "GOOD"]`:       `line 11: rule HONEYPATIENT: when: outcome is never "GOOD"`,
		"mine >= 3→yours >= 3":                            "line 10: rule HONEYPATIENT: when: undeclared reference to 'yours'",
		"&& outcome→&& && outcome":                        "line 11: rule HONEYPATIENT: when: Syntax error",
		"mine >= 3\n      && outcome == \"OK\"→count + 1": "line 10: rule HONEYPATIENT: when: it gives int",
		"mine >= 3→reason.matches('(')":                   "line 10: rule HONEYPATIENT: when: invalid matches argument",
		"mine >= 3→withheld_fields.all(a, withheld_fields.all(b, withheld_fields.all(c, a != b && b != c)))": "line 10: rule HONEYPATIENT: when",
		"mine >= 3→withheld_fields.exists(f, f.matches('a.*b.*c.*d'))":                                       "line 10: rule HONEYPATIENT: when: it may cost",
		"[user_id, practice_id]→[user_id, count]":                                                            `line 12: rule HONEYPATIENT: by: "count" cannot be used here`,
		"    by: [user_id, practice_id]\n→":                                                                  "rule HONEYPATIENT: by: say what is told apart",
		"1h30m→25h":                                                                                          "line 13: rule HONEYPATIENT: quiet: must be a length of time from 0s to 24h",
		"cut_service]→cut_cable]":                                                                            `line 14: rule HONEYPATIENT: actions: "cut_cable" is none of block_address`,
		"[MASS_READING]→[MASS_EATING]":                                                                       `line 15: without: no embedded rule has the id "MASS_EATING"`,
		"name: mine→name: charts_opened":                                                                     "line 3: the counter charts_opened is there already",
		"name: mine→name: outcome":                                                                           "line 3: outcome is a field of events",
		"name: mine→name: Mine":                                                                              "line 3: a counter needs a name",
		"when: 'count > 3'→when: 'mine > 3'":                                                                 "line 3: counter mine: when: it names mine, which is counted later",
		"window: 1d→window: 1w":                                                                              "line 3: counter mine: window: must be a length of time",
		"window: 1d→window: 30d":                                                                             "line 3: counter mine: window",
		"distinct: patient_id→distinct: patient_id, changes: hour":                                           "line 3: counter mine: it has both distinct and changes",
		"distinct: patient_id→distinct: hour":                                                                `line 3: counter mine: distinct: "hour" cannot be used here`,
		"rules:→rules: {}\nx:":                                                                               "line 4",
		"without: [MASS_READING]\n→---\nversion: 1\n":                                                        "more than one YAML document",
		"    when: |\n      mine >= 3\n      && outcome == \"OK\"\n→":                                        "line 5: rule HONEYPATIENT: when: say in CEL",
	} {
		from, to, _ := strings.Cut(change, "→")
		require.Contains(t, one, from)
		_, err := Read([]byte(strings.Replace(one, from, to, 1)))
		assert.ErrorContains(t, err, want, change)
	}
	_, err := Read([]byte(strings.Replace(one, "without:", one[strings.Index(one, "  - id: HONEY"):strings.Index(one, "without:")]+"without:", 1)))
	require.ErrorContains(t, err, "line 15: the id HONEYPATIENT stands twice")
	_, err = Read([]byte{})
	require.ErrorContains(t, err, "the file is empty")
	_, err = Read([]byte("#" + strings.Repeat("x", MaxBytes)))
	require.ErrorContains(t, err, "at most 262144 are taken")
}

func TestSeveralMistakesAreSaidAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Read([]byte(strings.NewReplacer("LOW", "NONE", "1h30m", "never", "mine >= 3", "mine => 3").Replace(one)))
	require.ErrorContains(t, err, "line 7:")
	require.ErrorContains(t, err, "line 10:")
	require.ErrorContains(t, err, "line 13:")
}

// Whatever is written into a rules file: it is refused, or it is a pack that keeps its bounds.
func FuzzRead(f *testing.F) {
	f.Add([]byte(one))
	f.Add(embedded)
	f.Add([]byte("version: 1\nrules: [{id: AAA, title: t, risk: LOW, when: 'withheld_fields.exists(f, f == reason)', by: platform, quiet: 0s}]"))
	f.Add([]byte("version: 1\ncounters: &a [*a]\n"))
	// The embedded rules would take most of the time, and are the same each time.
	under := []byte("version: 1\ncounters: [{name: opened, by: user_id, window: 1h}]\n" +
		"rules: [{id: HONEYPATIENT, title: t, risk: LOW, when: 'opened > 3', by: user_id, quiet: 1h}, {id: MASS_READING, title: t, risk: LOW, when: 'true', by: user_id, quiet: 1h}]")
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := beside(under, text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.LessOrEqual(t, p.Window, MaxWindow)
		require.LessOrEqual(t, p.Quiet, MaxWindow)
		seen := map[string]bool{}
		for _, r := range p.Rules {
			require.False(t, seen[r.ID], "%s stands twice", r.ID)
			seen[r.ID] = true
			require.NotNil(t, r.When)
			require.NotZero(t, r.Risk)
			for _, place := range r.When.Counters {
				require.Less(t, place, len(p.Counters))
			}
		}
	})
}
