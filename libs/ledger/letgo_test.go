package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

func TestDH47_EntriesAreKeptForTheLaterOf2555DaysAndSevenCalendarYears(t *testing.T) {
	for appended, want := range map[string]string{
		"2026-11-27T10:00:00Z": "2033-11-27T10:00:00Z",
		"2027-03-01T00:00:00Z": "2034-03-01T00:00:00Z",
		"2028-02-28T23:59:59Z": "2035-02-28T23:59:59Z",
		"2028-02-29T00:00:00Z": "2035-03-01T00:00:00Z", // no 29 February in 2035
		"2028-02-29T18:00:00Z": "2035-03-01T00:00:00Z",
		"2028-03-01T00:00:00Z": "2035-03-01T00:00:00Z",
		"2097-03-01T00:00:00Z": "2104-03-01T00:00:00Z", // 2100 is no leap year: 7 years of 2,556 days
	} {
		at, err := time.Parse(time.RFC3339, appended)
		require.NoError(t, err)
		require.Equal(t, want, ClassEntries.KeptUntil(at).Format(time.RFC3339), appended)
		require.False(t, ClassEntries.KeptUntil(at).Before(at.Add(2555*24*time.Hour)), "2,555 days are never more")
		require.Equal(t, at.Add(365*24*time.Hour), ClassEvents.KeptUntil(at))
	}
}

// The verifier dates a run by its newest entry, so none of the older ones may be due later.
func TestRetentionNeverDecreases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(1.5e9, 5e9).Draw(t, "at"), 0)
		later := at.Add(time.Duration(rapid.Int64Range(0, 3*24*3600).Draw(t, "later")) * time.Second)
		for _, class := range []Class{ClassEntries, ClassEvents} {
			require.False(t, class.KeptUntil(later).Before(class.KeptUntil(at)))
			require.True(t, class.KeptUntil(at).Sub(at) >= 365*24*time.Hour)
		}
	})
}

func TestTheTextOfARunHasOneForm(t *testing.T) {
	l := LetGo{Class: ClassEvents, Cutoff: epoch, First: 3, Last: 90, Count: 2, Digest: sha256.Sum256([]byte("x"))}
	read, ok := ParseLetGo(l.Text())
	require.True(t, ok)
	require.Equal(t, l, read)
	for _, text := range []string{
		"", l.Text() + " ", " " + l.Text(), strings.Replace(l.Text(), "first 3", "first 03", 1), strings.Replace(l.Text(), "events", "things", 1),
		strings.Replace(l.Text(), "T13", " 13", 1), l.Text()[:len(l.Text())-2], strings.Replace(l.Text(), "/1", "/2", 1),
	} {
		_, ok := ParseLetGo(text)
		require.False(t, ok, text)
	}
}

// shrunk is a log of 320 entries, of which some are let go by an announcement eight years later.
type shrunk struct {
	*sample
	announced int64
	gone      []int64
}

func newShrunk(t require.TestingT, change func(*LetGo, *auditv1.Event)) *shrunk {
	s := newSample(t, 100, 200, 20)
	x := &shrunk{announced: s.size()}
	g := Gone{}
	for n := int64(10); n < 250; n += 3 {
		x.gone = append(x.gone, n)
		g.Add(n, s.entries[n].Leaf)
	}
	l := LetGo{
		Class: ClassEntries, Cutoff: epoch.Add(2 * time.Second), First: g.First, Last: g.Last, Count: g.Count,
		Digest: [32]byte(g.digest.Sum(nil)),
	}
	at := epoch.AddDate(8, 0, 0)
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(at.UnixMilli())<<16|0x7000)
	id[8] = 0x80
	event := &auditv1.Event{
		EventId: id.String(), EventTime: timestamppb.New(at), Service: accessv1.Service_SERVICE_AUDIT,
		Action: accessv1.Action_ACTION_RETAIN, Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_HIGH,
	}
	change(&l, event)
	event.Retention = l.Text()
	e := testEntry(t, x.announced)
	var err error
	e.Event, err = proto.Marshal(event)
	require.NoError(t, err)
	e.Leaf, err = LeafHash(e.Salt, e.Event)
	require.NoError(t, err)
	index, err := IndexOf(event)
	require.NoError(t, err)
	e.Index = &index
	x.sample = s.resigned(t, append(s.entries, e), at)
	for _, n := range x.gone {
		x.letGo(n)
	}
	return x
}

// letGo deletes an entry as retention does.
func (x *shrunk) letGo(n int64) {
	by := x.announced
	x.lines[x.at(n)].Entry = &Entry{Seq: n, Leaf: x.entries[n].Leaf, LetGo: &by}
}

func TestDH48_TheLogVerifiesAcrossWhatRetentionLetGo(t *testing.T) {
	x := newShrunk(t, func(*LetGo, *auditv1.Event) {})
	report := x.verify(t)
	require.NoError(t, report.Err())
	require.EqualValues(t, len(x.gone), report.LetGo)
	require.EqualValues(t, 321, report.Entries)
	require.EqualValues(t, 321-len(x.gone), report.Whole)
	require.EqualValues(t, 4, report.Checkpoints)
}

func TestDH48_ADeletionThatTheLogDoesNotExplainIsFound(t *testing.T) {
	nothing := func(*LetGo, *auditv1.Event) {}
	for name, c := range map[string]struct {
		announce func(*LetGo, *auditv1.Event)
		then     func(*shrunk)
		find     string
	}{
		"one more by hand":       {nothing, func(x *shrunk) { x.letGo(11) }, "entries 10 to 247: ENTRY_MISSING: 81 of them are gone: entry 320 says"},
		"one in another's place": {nothing, func(x *shrunk) { x.lines[x.at(13)].Entry = &x.entries[13]; x.letGo(14) }, "says that retention let others go"},
		"a row by hand":          {nothing, func(x *shrunk) { x.lines = append(x.lines[:x.at(12):x.at(12)], x.lines[x.at(12)+1:]...) }, "entry 12: ENTRY_MISSING"},
		"without a word":         {nothing, func(x *shrunk) { x.edit(11, func(e *Entry) { e.Event, e.Salt = nil, nil }) }, "entry 11: ENTRY_ALTERED"},
		"by an entry of another": {nothing, func(x *shrunk) {
			by := int64(300)
			x.edit(11, func(e *Entry) { *e = Entry{Seq: 11, Leaf: e.Leaf, LetGo: &by} })
		}, "entry 11: ENTRY_MISSING: 1 of them are gone: entry 300 does not say"},
		"by an earlier entry": {nothing, func(x *shrunk) {
			by := int64(2)
			x.edit(11, func(e *Entry) { *e = Entry{Seq: 11, Leaf: e.Leaf, LetGo: &by} })
		}, "and no later entry 2 says why"},
		"by an entry that is gone": {nothing, func(x *shrunk) { x.letGo(320) }, "entries 10 to 320: ENTRY_MISSING: 81 of them are gone: entry 320 does not say"},
		"another leaf":             {nothing, func(x *shrunk) { x.lines[x.at(13)].Entry.Leaf[0] ^= 1 }, "ROOT_DIFFERS"},
		"there and gone":           {nothing, func(x *shrunk) { x.edit(11, func(e *Entry) { e.LetGo = &x.announced }) }, "entry 11: MALFORMED"},
		"a count":                  {func(l *LetGo, _ *auditv1.Event) { l.Count++ }, nil, "says that retention let others go"},
		"a digest":                 {func(l *LetGo, _ *auditv1.Event) { l.Digest[5] ^= 1 }, nil, "says that retention let others go"},
		"a range":                  {func(l *LetGo, _ *auditv1.Event) { l.Last++ }, nil, "says that retention let others go"},
		"younger than the cut-off": {func(l *LetGo, _ *auditv1.Event) { l.Cutoff = epoch.Add(time.Second) }, nil, "younger than entry 320 says"},
		"of another service":       {func(_ *LetGo, e *auditv1.Event) { e.Service = accessv1.Service_SERVICE_RECORDS }, nil, "does not say that retention"},
		"of another action":        {func(_ *LetGo, e *auditv1.Event) { e.Action = accessv1.Action_ACTION_DELETE }, nil, "does not say that retention"},
		"an attempt that failed":   {func(_ *LetGo, e *auditv1.Event) { e.Outcome = auditv1.Outcome_OUTCOME_FAILED }, nil, "does not say that retention"},
		"of a class there is none": {func(l *LetGo, _ *auditv1.Event) { l.Class = "things" }, nil, "does not say that retention"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newShrunk(t, c.announce)
			if c.then != nil {
				c.then(x)
			}
			report := x.verify(t)
			require.Condition(t, func() bool {
				for _, p := range report.Problems {
					if strings.Contains(p.String(), c.find) {
						return true
					}
				}
				return false
			}, "want %q among %v", c.find, report.Problems)
		})
	}
}

// Who deletes before the time is over is found by the times of signed checkpoints.
func TestDH47_ADeletionBeforeItsTimeIsFound(t *testing.T) {
	for years, early := range map[int]bool{6: true, 7: true, 8: false} {
		x := newShrunk(t, func(*LetGo, *auditv1.Event) {})
		// The newest of what is gone was appended a second after the epoch.
		at := epoch.AddDate(years, 0, 0)
		z := &shrunk{sample: x.redated(t, at), announced: 320, gone: x.gone}
		for _, n := range z.gone {
			z.letGo(n)
		}
		report := z.verify(t)
		if early {
			require.ErrorContains(t, report.Err(), "let them go before 2033-11-21", years)
		} else {
			require.NoError(t, report.Err(), years)
		}
	}
}

// redated is the log with its newest checkpoint, and the entry under it, at another time.
func (s *sample) redated(t require.TestingT, at time.Time) *sample {
	before := *s
	before.checkpoints = s.checkpoints[:len(s.checkpoints)-1]
	before.entries = s.entries[:len(s.entries)-1]
	return before.resigned(t, s.entries, at)
}
