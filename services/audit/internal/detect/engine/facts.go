package engine

import (
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/audit/internal/detect/rules"
)

// facts are one event as conditions see it. Each field is worked out when somebody first asks.
type facts struct {
	places map[string]int // names of fields, and after those of counters
	known  []ref.Val      // by place; nil where nobody asked yet
	asked  []int          // places to clear for the next event
	count  func(counter int) int64
	zone   Zones

	event *auditv1.Event
	at    time.Time
	near  string // network of the address, worked out once for keys and conditions
	wide  string
}

// Zones tells the time zone of a practice.
type Zones func(practice string) *time.Location

func newFacts(p *rules.Pack, zone Zones, count func(int) int64) *facts {
	f := &facts{places: map[string]int{}, count: count, zone: zone}
	for field := range rules.NumFields {
		f.places[field.Name()] = int(field)
	}
	for i, c := range p.Counters {
		f.places[c.Name] = int(rules.NumFields) + i
	}
	f.known = make([]ref.Val, len(f.places))
	return f
}

// set makes the facts those of an event.
func (f *facts) set(e *auditv1.Event, at time.Time) {
	for _, place := range f.asked {
		f.known[place] = nil
	}
	f.asked = f.asked[:0]
	f.event, f.at, f.near, f.wide = e, at, "", ""
}

var _ interpreter.Activation = (*facts)(nil)

// ResolveName implements interpreter.Activation.
func (f *facts) ResolveName(name string) (any, bool) {
	place, ok := f.places[name]
	if !ok {
		return nil, false
	}
	if f.known[place] == nil {
		if n := place - int(rules.NumFields); n >= 0 {
			f.known[place] = types.Int(f.count(n))
		} else {
			f.known[place] = f.value(rules.Field(place))
		}
		f.asked = append(f.asked, place)
	}
	return f.known[place], true
}

// Parent implements interpreter.Activation.
func (*facts) Parent() interpreter.Activation { return nil }

func (f *facts) value(field rules.Field) ref.Val {
	switch field {
	case rules.Code:
		return types.Int(f.event.GetCode())
	case rules.Count:
		return types.Int(f.event.GetCount())
	case rules.ResourceVersion:
		return types.Int(f.event.GetResourceVersion())
	case rules.Hour:
		return types.Int(f.clock().Hour())
	case rules.Weekday:
		return types.Int(f.clock().Weekday())
	case rules.EventTime:
		return types.Timestamp{Time: f.event.GetEventTime().AsTime()}
	case rules.WithheldFields:
		list := f.event.GetWithheldFields()
		return types.NewStringList(types.DefaultTypeAdapter, list[:min(len(list), rules.MaxList)])
	}
	return types.String(cut(f.text(field)))
}

func (f *facts) clock() time.Time { return f.at.In(f.zone(f.event.GetPracticeId())) }

// text is a field that is text, in full.
func (f *facts) text(field rules.Field) string {
	e := f.event
	switch field {
	case rules.Action:
		return strings.TrimPrefix(e.GetAction().String(), "ACTION_")
	case rules.Outcome:
		return strings.TrimPrefix(e.GetOutcome().String(), "OUTCOME_")
	case rules.Risk:
		return strings.TrimPrefix(e.GetRisk().String(), "RISK_")
	case rules.Service:
		return strings.TrimPrefix(e.GetService().String(), "SERVICE_")
	case rules.Caller:
		return strings.TrimPrefix(e.GetCaller().String(), "SERVICE_")
	case rules.Purpose:
		return strings.TrimPrefix(e.GetPurpose().String(), "PURPOSE_")
	case rules.Reason:
		return e.GetReason()
	case rules.Method:
		return e.GetMethod()
	case rules.PracticeID:
		return e.GetPracticeId()
	case rules.UserID:
		return e.GetUserId()
	case rules.Username:
		return e.GetUsername()
	case rules.PatientID:
		return e.GetPatientId()
	case rules.SessionID:
		return e.GetSessionId()
	case rules.DeviceID:
		return e.GetDeviceId()
	case rules.Resource:
		return e.GetResource()
	case rules.Address:
		return e.GetAddress()
	case rules.Network:
		if f.near == "" {
			f.near = network.Of(e.GetAddress())
		}
		return f.near
	case rules.WideNetwork:
		if f.wide == "" {
			f.wide = network.Wide(e.GetAddress())
		}
		return f.wide
	}
	return ""
}

// cut shortens a text to what the estimates of cost reckon with.
func cut(s string) string {
	if len(s) <= rules.MaxText {
		return s
	}
	end := rules.MaxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
