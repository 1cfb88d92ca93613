package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
	auditevent "github.com/carekeep/carekeep/services/audit/internal/event"
)

// noon is on a Monday.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func utc(string) *time.Location { return time.UTC }

// log feeds an engine and numbers the entries.
type log struct {
	t *testing.T
	*Engine
	seq int64
}

func newLog(t *testing.T, text string, zones Zones) *log {
	t.Helper()
	var own []byte
	if text != "" {
		own = []byte(text)
	}
	pack, err := rules.Read(own)
	require.NoError(t, err)
	e, err := New(Options{Pack: pack, Zones: zones, Keys: 1000})
	require.NoError(t, err)
	return &log{t: t, Engine: e}
}

// entry is the next one: it happened some time after noon, and was appended a second later.
func (l *log) entry(after time.Duration, mods ...func(*auditv1.Event)) Entry {
	e := &auditv1.Event{
		EventTime: timestamppb.New(noon.Add(after)), PracticeId: "practice-a", UserId: "smith", Username: "dr.smith", SessionId: "s1",
		Service: accessv1.Service_SERVICE_RECORDS, Action: accessv1.Action_ACTION_READ, Outcome: auditv1.Outcome_OUTCOME_OK,
		Risk: auditv1.Risk_RISK_LOW, Address: "192.0.2.7",
	}
	for _, mod := range mods {
		mod(e)
	}
	l.seq++
	return Entry{Seq: l.seq, AppendTime: noon.Add(after).Add(time.Second), Event: e}
}

// take returns the ids of the rules that fire.
func (l *log) take(after time.Duration, mods ...func(*auditv1.Event)) string {
	var ids []string
	for _, f := range l.Take(l.entry(after, mods...)) {
		ids = append(ids, f.Rule.ID)
	}
	return strings.Join(ids, " ")
}

func action(a accessv1.Action) func(*auditv1.Event) { return func(e *auditv1.Event) { e.Action = a } }
func user(name string) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.UserId, e.Username = name, name }
}
func patient(id any) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.PatientId = fmt.Sprint(id) }
}
func address(a string) func(*auditv1.Event) { return func(e *auditv1.Event) { e.Address = a } }
func reason(r string) func(*auditv1.Event)  { return func(e *auditv1.Event) { e.Reason = r } }
func of(s accessv1.Service) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Service = s }
}
func denied(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_DENIED }
func failed(e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_FAILED }

const signIn = accessv1.Action_ACTION_SIGN_IN

// What each rule of the embedded pack needs to fire, and that one less does not do it.
func TestDH37_TheDefaultPackFindsWhatItSays(t *testing.T) {
	t.Parallel()
	audit, backup := of(accessv1.Service_SERVICE_AUDIT), of(accessv1.Service_SERVICE_BACKUP)
	once := func(mods ...func(*auditv1.Event)) func(*log, int) string {
		return func(l *log, _ int) string { return l.take(0, mods...) }
	}
	cases := map[string]struct {
		times int
		do    func(l *log, i int) string
	}{
		"BRUTE_FORCE": {10, func(l *log, i int) string {
			return l.take(time.Duration(i)*time.Minute, action(signIn), denied, address(fmt.Sprintf("192.%d.0.1", i)), sessionless)
		}},
		"BRUTE_FORCE_ADDRESS": {30, func(l *log, i int) string {
			return l.take(time.Duration(i)*time.Second, action(signIn), denied, sessionless, user(fmt.Sprint("u", i%6)))
		}},
		"PASSWORD_SPRAYING": {8, func(l *log, i int) string {
			return l.take(time.Duration(i)*3*time.Minute, action(signIn), denied, sessionless, user(fmt.Sprint("u", i)), address(fmt.Sprintf("192.0.2.%d", i)))
		}},
		"PASSWORD_SPRAYING_BLOCKED": {20, func(l *log, i int) string {
			got := l.take(time.Duration(i)*time.Minute, action(signIn), denied, sessionless, user(fmt.Sprint("u", i)), address(fmt.Sprintf("192.0.2.%d", i)))
			if i == 7 { // the alert of before
				return strings.TrimPrefix(got, "PASSWORD_SPRAYING")
			}
			return got
		}},
		"BRUTE_FORCE_SUCCEEDED": {10, func(l *log, i int) string {
			if i == 9 {
				l.take(20*time.Second, action(signIn), denied, sessionless)
				return l.take(30*time.Second, action(signIn))
			}
			return l.take(time.Duration(i)*time.Second, action(signIn), denied, sessionless)
		}},
		"NEW_DEVICE":  {1, once(action(accessv1.Action_ACTION_DEVICE_CHANGE), reason("DEVICE_NEW"))},
		"NEW_NETWORK": {1, once(action(accessv1.Action_ACTION_DEVICE_CHANGE), reason("NETWORK_NEW"))},
		"IMPOSSIBLE_TRAVEL": {4, func(l *log, i int) string {
			return l.take(time.Duration(i)*time.Minute, address([]string{"192.0.2.7", "203.0.113.9"}[i%2]))
		}},
		"MANY_NETWORKS": {4, func(l *log, i int) string {
			return l.take(time.Duration(i)*time.Minute, address(fmt.Sprintf("192.%d.2.7", i)), func(e *auditv1.Event) { e.SessionId = fmt.Sprint(i) })
		}},
		"CREDENTIAL_SHARING": {1, once(action(accessv1.Action_ACTION_ALERT), reason("CREDENTIAL_SHARING"))},
		"MASS_READING": {60, func(l *log, i int) string {
			return l.take(time.Duration(i)*30*time.Second, patient(i))
		}},
		"MASS_LISTING": {1000, func(l *log, i int) string { return l.take(0, patient(i), action(accessv1.Action_ACTION_LIST)) }},
		"READING_OUTSIDE_HOURS": {5, func(l *log, i int) string {
			return l.take(11*time.Hour+time.Duration(i)*time.Minute, patient(i))
		}},
		"SNOOPING": {3, func(l *log, i int) string { return l.take(0, patient(i), denied, reason("NOT_ON_CARE_TEAM")) }},
		"SNOOPING_ON_ONE_PATIENT": {3, func(l *log, i int) string {
			return l.take(0, patient(1), user(fmt.Sprint(i)), denied, reason("NOT_ON_CARE_TEAM"))
		}},
		"VIP_ACCESS":   {1, once(patient(1), reason("VIP_ACCESS"))},
		"BREAK_GLASS":  {1, once(patient(1), action(accessv1.Action_ACTION_BREAK_GLASS), reason("BREAK_GLASS"))},
		"GLASS_ABUSED": {1, once(patient(1), action(accessv1.Action_ACTION_ALERT), reason("GLASS_REVIEW_OVERDUE"))},
		"PRIVILEGE_CHANGE": {2, func(l *log, i int) string {
			return l.take(0, action(accessv1.Action_ACTION_GRANT_CHANGE), reason([]string{"GRANT_REQUESTED", "GRANT_APPROVED"}[i]))
		}},
		"HONEYPATIENT":     {1, once(patient(1), reason("DECOY_TOUCHED"))},
		"DISABLED_CONTROL": {1, once(action(accessv1.Action_ACTION_POLICY_CHANGE))},
		"BACKUP_FAILURE":   {1, once(action(accessv1.Action_ACTION_BACKUP), backup, failed)},
		"AUDIT_GAP": {2, func(l *log, i int) string {
			return l.take(0, action(accessv1.Action_ACTION_VERIFY), []func(*auditv1.Event){of(accessv1.Service_SERVICE_AUTH), audit}[i], reason("OUTBOX_GAP"))
		}},
		"CLOCK_ROLLBACK": {1, once(action(accessv1.Action_ACTION_VERIFY), audit, failed, reason("CLOCK_BACK"))},
		"SEAL_BROKEN":    {1, once(failed, reason("SEAL_BROKEN"))},
		"MANY_SEALS_BROKEN": {50, func(l *log, i int) string {
			return strings.TrimPrefix(l.take(0, failed, reason("SEAL_BROKEN")), "SEAL_BROKEN")
		}},
		"RULES_REFUSED": {1, once(action(accessv1.Action_ACTION_ALERT), audit, failed, reason("RULES_FILE_REFUSED"))},
		"INCIDENT_DUTY": {1, once(action(accessv1.Action_ACTION_INCIDENT_CHANGE), audit, reason("INCIDENT_ESCALATED"))},
		"BREACH_DUTY":   {1, once(action(accessv1.Action_ACTION_INCIDENT_CHANGE), audit, reason("BREACH_DUE"))},
		"REVIEW_DUTY":   {1, once(action(accessv1.Action_ACTION_ALERT), audit, failed, reason("LOG_REVIEW_OVERDUE"))},
	}
	pack, err := rules.Default()
	require.NoError(t, err)
	require.Len(t, cases, len(pack.Rules), "every rule of the pack has its case")
	for want, c := range cases {
		l := newLog(t, "", utc)
		for i := range c.times {
			got := c.do(l, i)
			if i < c.times-1 {
				require.Empty(t, got, "%s after %d of %d", want, i+1, c.times)
			} else {
				require.Equal(t, want, got)
			}
		}
		require.Zero(t, l.Stats().Failed, want)
	}
}

// A practice behind one address whose people mistype is not cut off by the first alert.
func TestDH37_SprayingIsAnAlertBeforeItIsBlocked(t *testing.T) {
	t.Parallel()
	pack, err := rules.Default()
	require.NoError(t, err)
	actions := map[string][]string{}
	for _, r := range pack.Rules {
		actions[r.ID] = r.Actions
	}
	require.Empty(t, actions["PASSWORD_SPRAYING"])
	require.Equal(t, []string{"block_address"}, actions["PASSWORD_SPRAYING_BLOCKED"])
}

func sessionless(e *auditv1.Event) { e.SessionId, e.UserId = "", "" }

const counting = `version: 1
rules:
  - {id: TOUCHED, title: t, risk: LOW, when: 'reason == "X"', by: user_id, quiet: 10m, actions: [freeze_user]}
`

// A rule speaks once for a key within its quiet time; what it kept back goes into the next.
func TestDC10_DetectionsAreDeduplicated(t *testing.T) {
	t.Parallel()
	l := newLog(t, counting, utc)
	first := l.Take(l.entry(0, reason("X")))
	require.Len(t, first, 1)
	require.EqualValues(t, 1, first[0].Count)
	require.EqualValues(t, 1, first[0].FirstSeq)
	for range 5 {
		require.Empty(t, l.take(5*time.Minute, reason("X")))
	}
	require.Equal(t, "TOUCHED", l.take(5*time.Minute, reason("X"), user("other")), "another user is another matter")
	require.Empty(t, l.take(9*time.Minute+59*time.Second, reason("X")))
	next := l.Take(l.entry(10*time.Minute, reason("X")))
	require.Len(t, next, 1)
	require.EqualValues(t, 7, next[0].Count)
	require.EqualValues(t, 2, next[0].FirstSeq)
}

func TestTheFirstEntryThatAFindingRestsOn(t *testing.T) {
	t.Parallel()
	l := newLog(t, "", utc)
	l.take(0, action(accessv1.Action_ACTION_LIST))
	for i := range 9 {
		l.take(time.Duration(i)*time.Second, action(signIn), denied)
	}
	found := l.Take(l.entry(time.Minute, action(signIn), denied))
	require.Len(t, found, 1)
	require.EqualValues(t, 2, found[0].FirstSeq)
	require.EqualValues(t, 11, found[0].Seq)
}

// What detection reports does not make detection report.
func TestDetectionsDoNotLoop(t *testing.T) {
	t.Parallel()
	l := newLog(t, "version: 1\nrules: [{id: ALL, title: t, risk: LOW, when: 'true', by: platform, quiet: 0s}]", utc)
	require.Equal(t, "ALL", l.take(0, of(accessv1.Service_SERVICE_AUDIT)))
	own := func(e *auditv1.Event) { e.Method = auditevent.MethodDetect }
	require.Empty(t, l.take(0, of(accessv1.Service_SERVICE_AUDIT), own))
	require.Equal(t, "ALL", l.take(0, own), "another service cannot hide behind the name")
}

func TestTheHourIsThatOfThePractice(t *testing.T) {
	t.Parallel()
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	require.NoError(t, err)
	l := newLog(t, "version: 1\nrules: [{id: LATE, title: t, risk: LOW, when: 'hour == 21 && weekday == 1', by: platform, quiet: 0s}]", func(practice string) *time.Location {
		if practice == "practice-a" {
			return tokyo
		}
		return time.UTC
	})
	require.Equal(t, "LATE", l.take(0))
	require.Empty(t, l.take(0, func(e *auditv1.Event) { e.PracticeId = "practice-b" }))
}

// A clock that is ahead must not make counters deaf to everybody else's events.
func TestAFutureDatedEventDoesNotBlindACounter(t *testing.T) {
	t.Parallel()
	l := newLog(t, "", utc)
	l.take(0, action(signIn), denied, func(e *auditv1.Event) { e.EventTime = timestamppb.New(noon.AddDate(1, 0, 0)) })
	for i := range 8 {
		require.Empty(t, l.take(time.Duration(i)*time.Second, action(signIn), denied))
	}
	require.Equal(t, "BRUTE_FORCE", l.take(9*time.Second, action(signIn), denied))
}

// A condition that cannot be evaluated does not hold, is counted, and stops no other rule.
func TestAConditionThatFailsIsCounted(t *testing.T) {
	t.Parallel()
	l := newLog(t, "version: 1\nrules:\n  - {id: BROKEN, title: t, risk: LOW, when: '1 / count > 0', by: platform, quiet: 0s}\n"+
		"  - {id: WHOLE, title: t, risk: LOW, when: 'true', by: platform, quiet: 0s}", utc)
	require.Equal(t, "WHOLE", l.take(0))
	require.EqualValues(t, 1, l.Stats().Failed)
}

// An engine that replays what another took goes on as that one would have: the same counters,
// the same silences, the same counts.
func TestAReplayIsAsGoodAsHavingBeenThere(t *testing.T) {
	t.Parallel()
	text := counting + "  - {id: NIGHTLY, title: t, risk: LOW, when: 'failures_of_account >= 3', by: username, quiet: 1m}\n"
	whole := newLog(t, text, utc)
	var entries []Entry
	for i := range 300 {
		mods := []func(*auditv1.Event){user(fmt.Sprint(i % 3))}
		if i%4 == 0 {
			mods = append(mods, reason("X"))
		}
		if i%5 == 0 {
			mods = append(mods, action(signIn), denied)
		}
		entries = append(entries, whole.entry(time.Duration(i)*7*time.Second, mods...))
	}
	fired := map[string]bool{}
	name := func(seq int64, rule string) string { return fmt.Sprint(seq, rule) }
	texts := func(found []Finding) (out []string) {
		for _, f := range found {
			out = append(out, fmt.Sprintf("%s %d-%d ×%d", f.Rule.ID, f.FirstSeq, f.Seq, f.Count))
		}
		return out
	}
	const cut = 200
	for _, e := range entries[:cut] {
		for _, f := range whole.Take(e) {
			fired[name(e.Seq, f.Rule.ID)] = true
		}
	}
	later := newLog(t, text, utc)
	for _, e := range entries[:cut] {
		later.Replay(e, func(rule string) bool { return fired[name(e.Seq, rule)] })
	}
	total := 0
	for _, e := range entries[cut:] {
		want := texts(whole.Take(e))
		require.Equal(t, want, texts(later.Take(e)), "entry %d", e.Seq)
		total += len(want)
	}
	require.Greater(t, total, 5)
}

// A rule that holds for everything cannot fill the log with what it finds in it.
func TestARuleIsToldOfSoOftenInAMinute(t *testing.T) {
	t.Parallel()
	l := newLog(t, "version: 1\nrules: [{id: ALL, title: t, risk: LOW, when: 'true', by: platform, quiet: 0s}]", utc)
	for i := range 250 {
		want := ""
		if i < perMinute {
			want = "ALL"
		}
		require.Equal(t, want, l.take(time.Second))
	}
	require.EqualValues(t, 150, l.Stats().Dropped)
	require.Equal(t, "ALL", l.take(time.Minute))
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", rules.MaxText)
	require.Equal(t, strings.Repeat("ü", rules.MaxText/2), cut(long))
	require.Equal(t, strings.Repeat("ü", rules.MaxText/2-1)+"a", cut("a" + long)[1:]+"a")
}
