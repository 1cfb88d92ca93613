package evidence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// The grammar of a line (claim DH-38):
//
//	line    = time " " action " " user "→" target " [" outcome "]"
//	time    = HH ":" MM ":" SS, UTC
//	action  = an Action without its prefix, as READ
//	user    = text, or "-" for nobody
//	target  = "patient/" text [ "/" text ] | text | "-"
//	outcome = OK | DENIED | FAILED | UNSPECIFIED
//	text    = characters other than those below, or escapes
//	escape  = "\u{" hex "}" for a character, "\x{" hex hex "}" for a byte that is not UTF-8
//
// Space, control, format and separator characters, "→", "[", "]" and "\" only
// occur as escapes, so no name can add a line or a field. Where text would read as
// something else ("-" alone, a resource that starts with "patient/", a "/" in a
// patient id), its first or that character is escaped. Each line has one reading and each
// reading one line.

const (
	arrow         = "→"
	patientPrefix = "patient/"
)

// Fields are what a line says.
type Fields struct {
	// Time is the time of day in UTC, in whole seconds.
	Time     time.Duration
	Action   accessv1.Action
	Username string
	// Patient is the patient's id, Resource the resource; either may be empty.
	Patient  string
	Resource string
	Outcome  auditv1.Outcome
}

// Line is an event as one line: `13:04:22 READ dr.smith→patient/1234 [OK]`.
func Line(e *auditv1.Event) string {
	t := e.GetEventTime().AsTime()
	return Fields{
		Time:   time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second,
		Action: e.GetAction(), Username: e.GetUsername(), Patient: e.GetPatientId(),
		Resource: e.GetResource(), Outcome: e.GetOutcome(),
	}.String()
}

// String renders the fields.
func (f Fields) String() string {
	s := int(f.Time / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d %s %s%s%s [%s]", s/3600, s/60%60, s%60,
		actionName(f.Action), orDash(f.Username), arrow, f.target(), outcomeName(f.Outcome))
}

func (f Fields) target() string {
	if f.Patient == "" {
		if strings.HasPrefix(f.Resource, patientPrefix) {
			return `\u{70}` + escape(f.Resource[1:])
		}
		return orDash(f.Resource)
	}
	target := patientPrefix + strings.ReplaceAll(escape(f.Patient), "/", `\u{2f}`)
	if f.Resource != "" {
		target += "/" + escape(f.Resource)
	}
	return target
}

// Parse reads a line. It takes only lines that Line can have written.
func Parse(line string) (Fields, error) {
	f, err := parse(line)
	if err != nil {
		return Fields{}, fmt.Errorf("evidence: not an audit line: %w", err)
	}
	if f.String() != line {
		return Fields{}, errors.New("evidence: not an audit line: it is not in canonical form")
	}
	return f, nil
}

func parse(line string) (Fields, error) {
	var f Fields
	parts := strings.Split(line, " ")
	if len(parts) != 4 {
		return f, fmt.Errorf("it has %d parts, not 4", len(parts))
	}
	t, err := time.Parse(time.TimeOnly, parts[0])
	if err != nil {
		return f, fmt.Errorf("time: %w", err)
	}
	f.Time = t.Sub(t.Truncate(24 * time.Hour))
	action, ok := accessv1.Action_value["ACTION_"+parts[1]]
	if !ok {
		return f, fmt.Errorf("action %q is unknown", parts[1])
	}
	f.Action = accessv1.Action(action)
	outcome, ok := auditv1.Outcome_value["OUTCOME_"+strings.TrimSuffix(strings.TrimPrefix(parts[3], "["), "]")]
	if !ok {
		return f, fmt.Errorf("outcome %q is unknown", parts[3])
	}
	f.Outcome = auditv1.Outcome(outcome)
	user, target, ok := strings.Cut(parts[2], arrow)
	if !ok {
		return f, errors.New("it has no arrow")
	}
	var errUser, errPatient, errResource error
	f.Username, errUser = orEmpty(user)
	if rest, ok := strings.CutPrefix(target, patientPrefix); ok {
		patient, resource, _ := strings.Cut(rest, "/")
		f.Patient, errPatient = unescape(patient)
		f.Resource, errResource = unescape(resource)
	} else {
		f.Resource, errResource = orEmpty(target)
	}
	return f, errors.Join(errUser, errPatient, errResource)
}

func actionName(a accessv1.Action) string {
	if name, ok := accessv1.Action_name[int32(a)]; ok {
		return strings.TrimPrefix(name, "ACTION_")
	}
	return "UNSPECIFIED"
}

func outcomeName(o auditv1.Outcome) string {
	if name, ok := auditv1.Outcome_name[int32(o)]; ok {
		return strings.TrimPrefix(name, "OUTCOME_")
	}
	return "UNSPECIFIED"
}

// orDash writes "" as "-", and a text that is "-" as an escape.
func orDash(s string) string {
	switch s {
	case "":
		return "-"
	case "-":
		return `\u{2d}`
	}
	return escape(s)
}

func orEmpty(s string) (string, error) {
	if s == "-" {
		return "", nil
	}
	return unescape(s)
}

func escape(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x{%02x}`, s[0])
		case plain(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// plain reports whether a character stands for itself. U+FFFD is escaped, because
// it is also how broken UTF-8 reads.
func plain(r rune) bool {
	switch r {
	case '→', '[', ']', '\\', utf8.RuneError:
		return false
	}
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Zs, r)
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		code, after, closed := strings.Cut(rest, "}")
		kind, hex, opened := strings.Cut(code, "{")
		n, err := strconv.ParseUint(hex, 16, 32)
		switch {
		case !closed || !opened || err != nil:
			return "", errors.New("it holds an escape that is not one")
		case kind == "u" && n <= unicode.MaxRune && utf8.ValidRune(rune(n)):
			b.WriteRune(rune(n))
		case kind == "x" && n <= 0xff:
			b.WriteByte(byte(n))
		default:
			return "", errors.New("it holds an escape that is not one")
		}
		s = after
	}
}
