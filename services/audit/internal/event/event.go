// Package event turns what arrives into what can be appended: the exact bytes of an
// event, its index, and what the appender has to know of it. It talks to nobody.
package event

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/ledger"
)

// Event is an event that can be appended.
type Event struct {
	Raw         []byte // what the leaf commits to
	Index       ledger.Index
	Risk        auditv1.Risk
	Reason      string
	Traceparent string
	Detection   Detection
}

// Origin says who sent a batch and when it was taken.
type Origin struct {
	Service accessv1.Service
	Now     time.Time
}

// The ids of events decide their partitions, and partitions are made for these months only.
var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	ahead    = 24 * time.Hour
)

// ErrRefused says why an event cannot be in the log. Its text repeats none of the event.
var ErrRefused = errors.New("event refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// From makes an event that this service itself has to record.
func From(e *auditv1.Event, origin Origin) (Event, error) {
	raw, err := proto.Marshal(e)
	if err != nil {
		return Event{}, refused("it cannot be encoded")
	}
	return take(raw, e, origin)
}

// Decode splits a batch into its events. Events that cannot be in the log are left
// out, and the error says why; the others are returned all the same. The bytes of an
// event are those that came, not an encoding of our own.
func Decode(payload []byte, origin Origin) ([]Event, error) {
	var events []Event
	var problems error
	for n := 0; len(payload) > 0; {
		number, kind, tag := protowire.ConsumeTag(payload)
		if tag < 0 {
			return events, errors.Join(problems, refused("the message is not a batch of events"))
		}
		if number != 1 || kind != protowire.BytesType {
			// A newer release may say more in a batch; its events are still events.
			size := protowire.ConsumeFieldValue(number, kind, payload[tag:])
			if size < 0 {
				return events, errors.Join(problems, refused("the message is not a batch of events"))
			}
			payload = payload[tag+size:]
			continue
		}
		raw, size := protowire.ConsumeBytes(payload[tag:])
		if size < 0 {
			return events, errors.Join(problems, refused("the message is cut off"))
		}
		payload = payload[tag+size:]
		n++
		e := new(auditv1.Event)
		if err := proto.Unmarshal(raw, e); err != nil {
			problems = errors.Join(problems, fmt.Errorf("event number %d: %w", n, refused("it cannot be read")))
			continue
		}
		event, err := take(raw, e, origin)
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("event number %d: %w", n, err))
			continue
		}
		events = append(events, event)
	}
	if len(events) == 0 && problems == nil {
		problems = refused("the message holds no event")
	}
	return events, problems
}

func take(raw []byte, e *auditv1.Event, origin Origin) (Event, error) {
	if e.GetService() != origin.Service {
		return Event{}, refused("it claims to be of service %d and came from service %d", e.GetService(), origin.Service)
	}
	index, err := ledger.IndexOf(e)
	if err != nil {
		return Event{}, refused("%v", err)
	}
	if at := IDTime(index.EventID); at.Before(earliest) || at.After(origin.Now.Add(ahead)) {
		return Event{}, refused("the time in its event_id is out of range")
	}
	return Event{
		Raw: raw, Index: index, Risk: e.GetRisk(), Reason: reason(e.GetReason()), Traceparent: e.GetTraceparent(), Detection: DetectionOf(e),
	}, nil
}

// skew is how far an event's own time may be from the clock before somebody should look.
const skew = 24 * time.Hour

// Skewed reports whether an event's time cannot be that of its id, or lies ahead of
// the clock. It is kept as it is, since a wrong clock is no reason to lose evidence.
func (e Event) Skewed(now time.Time) bool {
	return e.Index.EventTime.Sub(IDTime(e.Index.EventID)).Abs() > skew || e.Index.EventTime.After(now.Add(skew))
}

// IDTime is the time inside a UUIDv7.
func IDTime(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

// Month is the first day of the month of an event id, in UTC: its partition.
func Month(id uuid.UUID) time.Time {
	at := IDTime(id)
	return time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// Unnamed stands for a reason that is none: free text, or nothing at all.
const Unnamed = "UNNAMED"

var reasonForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func reason(s string) string {
	if reasonForm.MatchString(s) {
		return s
	}
	return Unnamed
}
