// Package breach leads through what follows a breach of patient data: whether it is one, from which day
// its clocks run, who has to be told until when, what the letters say and what became of them. Its sources are
// 45 CFR 164.400 to 414 and Article 33 of the UK GDPR. It keeps ids of patients and nothing else of them.
package breach

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Facts is what a step says besides the text that a person wrote.
type Facts struct {
	Incident  uuid.UUID             `json:"incident,omitzero"`
	Day       string                `json:"day,omitempty"` // of discovery, of a statement, from which a notice stands; YYYY-MM-DD
	Until     string                `json:"until,omitempty"`
	Occurred  string                `json:"occurred,omitempty"`
	Zone      string                `json:"zone,omitempty"`
	Aware     time.Time             `json:"aware,omitzero"`
	Type      string                `json:"type,omitempty"`
	Locations []string              `json:"locations,omitempty"`
	Low       [4]bool               `json:"low,omitzero"`
	Encrypted *store.Range          `json:"encrypted,omitempty"`
	Added     int64                 `json:"added,omitempty"`
	States    map[string]int64      `json:"states,omitempty"`
	Written   bool                  `json:"written,omitempty"`
	Open      bool                  `json:"open,omitempty"` // a substitute notice that everybody can see
	Kind      auditv1.Deadline_Kind `json:"kind,omitempty"`
	State     string                `json:"state,omitempty"`
}

// Step is one thing that is done.
type Step struct {
	Kind auditv1.BreachStep_Kind
	User uuid.UUID
	Time time.Time
	Facts
	Text string
}

// target is whom a notification goes to.
type target struct {
	kind  auditv1.Deadline_Kind
	state string
}

// Breach is what follows from the steps.
type Breach struct {
	Incident    uuid.UUID
	Opened      time.Time
	Discovery   calendar.Day
	Proposed    calendar.Day // 0 for none
	ProposedBy  uuid.UUID
	Occurred    string
	Zone        *time.Location
	Aware       time.Time
	Type        string
	Locations   []string
	Assessed    int // the step of the assessment, counted from 1; 0 for none
	Low         [4]bool
	Encrypted   *store.Range
	States      map[string]int64
	Delay       calendar.Day // the last day of a delay; 0 for none
	Oral        calendar.Day // the day of the first oral statement
	Letter      int          // the step of the letter, counted from 1
	Substitute  time.Time
	Conspicuous bool
	Notified    map[target]time.Time
	HHS         int // the step of the first receipt of HHS
	Closed      time.Time
	Steps       int
}

// Notifiable reports whether it counts as a breach: it does, unless the assessment found a low probability by all
// four factors, or that nothing unsecured was open.
func (b *Breach) Notifiable() bool {
	return b.Encrypted == nil && b.Low != [4]bool{true, true, true, true}
}

// Fold returns the state that follows from steps in order.
func Fold(steps []Step) (*Breach, error) {
	b := &Breach{States: map[string]int64{}, Notified: map[target]time.Time{}}
	for n, s := range steps {
		if err := b.Apply(s); err != nil {
			return nil, fmt.Errorf("step %d: %w", n+1, err)
		}
	}
	return b, nil
}

func refuse(reason, format string, args ...any) error {
	return errs.New(errs.KindPrecondition, reason, fmt.Sprintf(format, args...))
}

func invalid(field, why string) error {
	return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField(field, why)
}

// mostSteps bounds a breach.
const mostSteps = 5000

// Apply takes the next step, or says why it cannot come now.
func (b *Breach) Apply(s Step) error {
	switch {
	case (s.Kind == auditv1.BreachStep_KIND_OPENED) != (b.Steps == 0):
		return refuse("BREACH_ORDER", "a breach is opened first, and once")
	case !b.Closed.IsZero():
		return refuse("BREACH_CLOSED", "the breach is closed")
	case b.Steps >= mostSteps:
		return refuse("BREACH_FULL", "the breach has %d steps", b.Steps)
	}
	b.Steps++
	err := b.apply(s)
	if err != nil {
		b.Steps--
	}
	return err
}

func (b *Breach) apply(s Step) error {
	switch s.Kind {
	case auditv1.BreachStep_KIND_OPENED:
		return b.open(s)
	case auditv1.BreachStep_KIND_ASSESSED:
		b.Assessed, b.Low, b.Encrypted = b.Steps, s.Low, s.Encrypted
	case auditv1.BreachStep_KIND_DISCOVERY_MOVED, auditv1.BreachStep_KIND_DISCOVERY_PROPOSED, auditv1.BreachStep_KIND_DISCOVERY_APPROVED:
		return b.discover(s)
	case auditv1.BreachStep_KIND_RECIPIENTS_ADDED:
	case auditv1.BreachStep_KIND_STATES_COUNTED:
		b.States = s.States
	case auditv1.BreachStep_KIND_DELAYED:
		return b.delay(s)
	case auditv1.BreachStep_KIND_LETTER_WRITTEN:
		b.Letter = b.Steps
	case auditv1.BreachStep_KIND_SUBSTITUTE_NOTICE:
		return b.substitute(s)
	case auditv1.BreachStep_KIND_NOTIFIED:
		to := target{s.Facts.Kind, s.State}
		if b.Notified[to].IsZero() {
			b.Notified[to] = s.Time
		}
		if b.HHS == 0 && to.kind == auditv1.Deadline_KIND_HHS {
			b.HHS = b.Steps
		}
	case auditv1.BreachStep_KIND_CLOSED:
		b.Closed = s.Time
	default:
		return refuse("BREACH_STEP_UNKNOWN", "a newer release has written this breach")
	}
	return nil
}

func (b *Breach) open(s Step) (err error) {
	if b.Zone, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
		return invalid("time_zone", `must be a time zone, as "America/New_York"`)
	}
	if b.Discovery, err = b.past("discovery_date", s.Day, s.Time); err != nil {
		return err
	}
	if _, err = b.past("occurrence_date", s.Occurred, s.Time); err != nil {
		return err
	}
	if s.Aware.After(s.Time) {
		return invalid("aware_time", "lies ahead")
	}
	b.Incident, b.Opened, b.Occurred, b.Aware, b.Type, b.Locations = s.Incident, s.Time, s.Occurred, s.Aware, s.Type, s.Locations
	return nil
}

// past reads a day that has begun where days are counted.
func (b *Breach) past(field, text string, now time.Time) (calendar.Day, error) {
	d, err := calendar.ParseDay(text)
	if err != nil {
		return 0, invalid(field, "must be a day of the calendar, as 2027-01-31")
	}
	if d > calendar.DayOf(now, b.Zone) {
		return 0, invalid(field, "lies ahead")
	}
	return d, nil
}

// discover moves the day from which the clocks run. A later one takes two signers.
func (b *Breach) discover(s Step) error {
	d, err := b.past("discovery_date", s.Day, s.Time)
	if err != nil {
		return err
	}
	switch s.Kind {
	case auditv1.BreachStep_KIND_DISCOVERY_MOVED:
		if d >= b.Discovery {
			return refuse("BREACH_DISCOVERY_LATER", "a later day takes a second signature: propose it")
		}
		b.Discovery, b.Proposed = d, 0
	case auditv1.BreachStep_KIND_DISCOVERY_PROPOSED:
		if d <= b.Discovery {
			return refuse("BREACH_DISCOVERY_SAME", "the day of discovery is that day already, or later")
		}
		b.Proposed, b.ProposedBy = d, s.User
	default:
		if b.Proposed == 0 || d != b.Proposed {
			return refuse("BREACH_NOT_PROPOSED", "this is not the day that was proposed")
		}
		if s.User == b.ProposedBy {
			return errs.New(errs.KindDenied, "SECOND_SIGNER_REQUIRED", "somebody else has to sign: you have proposed the day")
		}
		b.Discovery, b.Proposed = d, 0
	}
	return nil
}

// delay takes a statement of law enforcement (45 CFR 164.412).
func (b *Breach) delay(s Step) error {
	stated, err := b.past("statement_date", s.Day, s.Time)
	if err != nil {
		return err
	}
	until, err := calendar.ParseDay(s.Until)
	if err != nil || until < stated {
		return invalid("until_date", "must be a day, that of the statement or later")
	}
	if !s.Written {
		if b.Oral == 0 {
			b.Oral = stated
		}
		// Saying it again does not make it longer; writing it does.
		if until > b.Oral+oralDays {
			return refuse("BREACH_DELAY_TOO_LONG", "an oral statement delays by %d days from the first one: until %s; ask for it in writing", oralDays, b.Oral+oralDays)
		}
	}
	b.Delay = max(b.Delay, until)
	return nil
}

// substitute takes a substitute notice (45 CFR 164.404(d)(2)).
func (b *Breach) substitute(s Step) error {
	from, err := b.past("from_date", s.Day, s.Time)
	if err != nil {
		return err
	}
	until, err := calendar.ParseDay(s.Until)
	if err != nil || until < from {
		return invalid("to_date", "must be a day, that of from_date or later")
	}
	if s.Open && until < from+substituteDays-1 {
		return invalid("to_date", fmt.Sprintf("must be %s or later: the notice stands for %d days", from+substituteDays-1, substituteDays))
	}
	if b.Substitute.IsZero() || (s.Open && !b.Conspicuous) {
		b.Substitute, b.Conspicuous = s.Time, s.Open
	}
	return nil
}
