package breach_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/breach"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

var (
	anna, bert = uuid.New(), uuid.New()
	low        = [4]bool{true, true, true, true}
)

func opened(discovery string) breach.Step {
	return breach.Step{Kind: auditv1.BreachStep_KIND_OPENED, User: anna, Time: at("2029-12-31"), Facts: breach.Facts{
		Incident: uuid.New(), Day: discovery, Occurred: discovery, Zone: "America/New_York",
	}}
}

func at(day string) time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return t.Add(17 * time.Hour) // noon in New York, or one
}

func fold(t *testing.T, steps ...breach.Step) *breach.Breach {
	t.Helper()
	b, err := breach.Fold(steps)
	require.NoError(t, err)
	return b
}

// due is the last day of a kind of deadline, and of a State where it has one; "" where nothing is due.
func due(b *breach.Breach, r store.Reach, kind auditv1.Deadline_Kind, state string) string {
	for _, d := range b.Deadlines(r) {
		if d.Kind == kind && d.State == state {
			return d.Day.String()
		}
	}
	return ""
}

func TestDH52_VectorsOfTheDeadlines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		discovery        string
		affected         int64
		individuals, hhs string
	}{
		{"2026-11-27", 499, "2027-01-26", "2027-03-01"},
		{"2026-11-27", 500, "2027-01-26", "2027-01-26"},
		{"2026-11-27", 501, "2027-01-26", "2027-01-26"},
		{"2026-11-27", 0, "2027-01-26", "2027-01-26"}, // nobody was counted: the earlier day
		{"2027-01-01", 1, "2027-03-02", "2028-02-29"}, // the year after is a leap year
		{"2027-12-31", 499, "2028-02-29", "2028-02-29"},
		{"2028-01-01", 10, "2028-03-01", "2029-03-01"},
		{"2028-02-29", 600, "2028-04-29", "2028-04-29"},
		{"2026-12-31", 1, "2027-03-01", "2027-03-01"},
	} {
		b := fold(t, opened(c.discovery))
		r := store.Reach{Total: c.affected, Pending: c.affected}
		require.Equal(t, c.individuals, due(b, r, auditv1.Deadline_KIND_INDIVIDUALS, ""), "%+v", c)
		require.Equal(t, c.hhs, due(b, r, auditv1.Deadline_KIND_HHS, ""), "%+v", c)
	}
}

// More than 500 of one State: 300 and 300 in two are 600 for HHS and none for the media.
func TestDMD22_MediaOfAState(t *testing.T) {
	t.Parallel()
	for count, want := range map[int64]string{499: "", 500: "", 501: "2027-01-26"} {
		b := fold(t, opened("2026-11-27"), breach.Step{Kind: auditv1.BreachStep_KIND_STATES_COUNTED, Facts: breach.Facts{States: map[string]int64{"CA": count, "NV": 2}}})
		require.Equal(t, want, due(b, store.Reach{Total: count + 2}, auditv1.Deadline_KIND_MEDIA, "CA"), count)
		require.Empty(t, due(b, store.Reach{Total: count + 2}, auditv1.Deadline_KIND_MEDIA, "NV"))
	}
	b := fold(t, opened("2026-11-27"), breach.Step{Kind: auditv1.BreachStep_KIND_STATES_COUNTED, Facts: breach.Facts{States: map[string]int64{"CA": 300, "NV": 300}}})
	r := store.Reach{Total: 600}
	require.Empty(t, due(b, r, auditv1.Deadline_KIND_MEDIA, "CA"))
	require.Empty(t, due(b, r, auditv1.Deadline_KIND_MEDIA, "NV"))
	require.Equal(t, "2027-01-26", due(b, r, auditv1.Deadline_KIND_HHS, ""))
}

// It is late from the first moment of the day after, where days are counted: in New York, not in Greenwich.
func TestDC24_TheDayEndsWhereItIsCounted(t *testing.T) {
	t.Parallel()
	b := fold(t, opened("2026-11-27"))
	d := b.Deadlines(store.Reach{Total: 1, Pending: 1})[0]
	end := time.Date(2027, 1, 27, 5, 0, 0, 0, time.UTC) // midnight in New York
	require.False(t, d.Late(end.Add(-time.Nanosecond)))
	require.True(t, d.Late(end))
	aware := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	step := opened("2026-11-27")
	step.Aware = aware
	for _, d := range fold(t, step).Deadlines(store.Reach{}) {
		if d.Kind == auditv1.Deadline_KIND_ICO {
			require.False(t, d.Late(aware.Add(72*time.Hour)))
			require.True(t, d.Late(aware.Add(72*time.Hour+time.Second)))
			return
		}
	}
	t.Fatal("no deadline of the ICO")
}

func TestDC24_LawEnforcementDelays(t *testing.T) {
	t.Parallel()
	delayed := func(day, until string, written bool) breach.Step {
		return breach.Step{Kind: auditv1.BreachStep_KIND_DELAYED, Time: at("2029-12-31"), Facts: breach.Facts{Day: day, Until: until, Written: written}}
	}
	r := store.Reach{Total: 700, Pending: 700}
	b := fold(t, opened("2026-11-27"), delayed("2027-01-20", "2027-02-19", false))
	require.Equal(t, "2027-02-19", due(b, r, auditv1.Deadline_KIND_INDIVIDUALS, ""), "30 days after it was said")
	require.Equal(t, "2027-02-19", due(b, r, auditv1.Deadline_KIND_HHS, ""))
	require.Equal(t, "BREACH_DELAY_TOO_LONG", errs.ReasonOf(b.Apply(delayed("2027-02-10", "2027-02-20", false))), "saying it again does not make it longer")
	require.NoError(t, b.Apply(delayed("2027-02-10", "2027-06-30", true)))
	require.Equal(t, "2027-06-30", due(b, r, auditv1.Deadline_KIND_INDIVIDUALS, ""))
	early := fold(t, opened("2026-11-27"), delayed("2026-12-01", "2026-12-20", true))
	require.Equal(t, "2027-01-26", due(early, r, auditv1.Deadline_KIND_INDIVIDUALS, ""), "a delay that ends before moves nothing")
	one := fold(t, opened("2026-11-27"))
	require.Equal(t, "BREACH_DELAY_TOO_LONG", errs.ReasonOf(one.Apply(delayed("2027-01-20", "2027-02-20", false))), "31 days")
}

func TestDMD22_ALaterDiscoveryTakesTwoSigners(t *testing.T) {
	t.Parallel()
	step := func(kind auditv1.BreachStep_Kind, who uuid.UUID, day string) breach.Step {
		return breach.Step{Kind: kind, User: who, Time: at("2029-12-31"), Facts: breach.Facts{Day: day}}
	}
	b := fold(t, opened("2026-11-27"))
	require.Equal(t, "BREACH_DISCOVERY_LATER", errs.ReasonOf(b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_MOVED, anna, "2026-12-01"))))
	require.NoError(t, b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_PROPOSED, anna, "2026-12-01")))
	require.Equal(t, "2026-11-27", b.Discovery.String(), "not by one")
	require.Equal(t, "SECOND_SIGNER_REQUIRED", errs.ReasonOf(b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_APPROVED, anna, "2026-12-01"))))
	require.Equal(t, "BREACH_NOT_PROPOSED", errs.ReasonOf(b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_APPROVED, bert, "2026-12-02"))))
	require.NoError(t, b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_APPROVED, bert, "2026-12-01")))
	require.Equal(t, "2026-12-01", b.Discovery.String())
	require.NoError(t, b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_MOVED, anna, "2026-11-01")), "an earlier day takes one")
	require.Equal(t, "REQUEST_INVALID", errs.ReasonOf(b.Apply(step(auditv1.BreachStep_KIND_DISCOVERY_PROPOSED, anna, "2030-01-01"))), "tomorrow")
}

// Whatever is called, nobody moves the discovery to a later day alone.
func TestDMD22_NoSequenceMovesTheDiscoveryLaterByOneSigner(t *testing.T) {
	t.Parallel()
	days := []string{"2026-10-01", "2026-11-27", "2026-12-01", "2027-02-01", "2027-02-30"}
	moved := 0
	rapid.Check(t, func(t *rapid.T) {
		b, err := breach.Fold([]breach.Step{opened("2026-11-27")})
		if err != nil {
			t.Fatal(err)
		}
		var last breach.Step // what was proposed last
		for range rapid.IntRange(0, 30).Draw(t, "calls") {
			before := b.Discovery
			s := breach.Step{
				Kind: auditv1.BreachStep_Kind(rapid.IntRange(2, 5).Draw(t, "kind")), User: rapid.SampledFrom([]uuid.UUID{anna, bert}).Draw(t, "user"),
				Time: at("2029-12-31"), Facts: breach.Facts{Day: rapid.SampledFrom(days).Draw(t, "day")},
			}
			if b.Apply(s) != nil {
				continue
			}
			if s.Kind == auditv1.BreachStep_KIND_DISCOVERY_PROPOSED {
				last = s
			}
			if b.Discovery > before {
				moved++
				if s.User == last.User || s.Day != last.Day {
					t.Fatalf("moved to %s by one signer", b.Discovery)
				}
			}
		}
	})
	require.Positive(t, moved, "no sequence moved it, so the property was not tested")
}

func TestDC24_ABreachIsPresumedUntilAllFactorsSpeakAgainstIt(t *testing.T) {
	t.Parallel()
	b := fold(t, opened("2026-11-27"))
	require.True(t, b.Notifiable())
	for n := range 4 {
		factors := low
		factors[n] = false
		require.NoError(t, b.Apply(breach.Step{Kind: auditv1.BreachStep_KIND_ASSESSED, Facts: breach.Facts{Low: factors}}))
		require.True(t, b.Notifiable(), "factor %d", n+1)
	}
	require.NoError(t, b.Apply(breach.Step{Kind: auditv1.BreachStep_KIND_ASSESSED, Facts: breach.Facts{Low: low}}))
	require.False(t, b.Notifiable())
	require.Empty(t, b.Deadlines(store.Reach{Total: 1000}))
	require.NoError(t, b.Apply(breach.Step{Kind: auditv1.BreachStep_KIND_ASSESSED}))
	require.True(t, b.Notifiable(), "the last assessment counts")
	require.NoError(t, b.Apply(breach.Step{Kind: auditv1.BreachStep_KIND_ASSESSED, Facts: breach.Facts{Encrypted: &store.Range{From: 1, To: 2}}}))
	require.False(t, b.Notifiable(), "what was encrypted with the keys apart is not unsecured")
}

// Ten whom no letter reaches need 90 days of web or media; nine need any other form.
func TestDC24_SubstituteNotice(t *testing.T) {
	t.Parallel()
	sent := at("2026-12-10")
	notice := func(open bool, until string) breach.Step {
		return breach.Step{Kind: auditv1.BreachStep_KIND_SUBSTITUTE_NOTICE, Time: at("2026-12-20"), Facts: breach.Facts{Day: "2026-12-20", Until: until, Open: open}}
	}
	told := func(b *breach.Breach, unreachable int64) bool {
		return !b.Deadlines(store.Reach{Total: 100, Sent: 100 - unreachable, Unreachable: unreachable, Last: &sent})[0].Done.IsZero()
	}
	b := fold(t, opened("2026-11-27"))
	require.True(t, told(b, 0))
	require.False(t, told(b, 1))
	require.NoError(t, b.Apply(notice(false, "2026-12-20")))
	require.True(t, told(b, 9))
	require.False(t, told(b, 10))
	require.Equal(t, "REQUEST_INVALID", errs.ReasonOf(b.Apply(notice(true, "2027-03-18"))), "89 days")
	require.NoError(t, b.Apply(notice(true, "2027-03-19")))
	require.True(t, told(b, 10))
}
