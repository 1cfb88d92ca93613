package rules

import (
	"time"

	"cel.dev/cel-go/cel"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect/counter"
)

// Pack is a set of rules and of the counters that they name. It is never changed.
type Pack struct {
	Counters []*Counter
	Rules    []*Rule
	// Digest tells packs apart: the SHA-256 of the texts that it was read from.
	Digest string
	// Window is the longest of the counters, Quiet the longest of the rules.
	Window, Quiet time.Duration
}

// Condition is CEL that was compiled.
type Condition struct {
	Text    string
	Program cel.Program
	// Counters are those that the condition names, as places in Pack.Counters.
	Counters []int
}

// Counter counts the events that it takes.
type Counter struct {
	Name string
	// On are the actions of the events that it looks at; nil for all.
	On map[accessv1.Action]bool
	// When says which of those count; nil for all.
	When *Condition
	// By is what there is one count for each of; empty for one count of everything. An event
	// that lacks one of these is not counted.
	By     []Field
	Kind   counter.Kind
	Value  Field // of Distinct and Changes
	Window time.Duration
}

// Rule says what somebody should look at.
type Rule struct {
	ID    string
	Title string
	About string // what it can know and what it cannot
	Risk  auditv1.Risk
	On    map[accessv1.Action]bool
	When  *Condition
	By    []Field // what it is told for once within Quiet
	Quiet time.Duration
	// Actions are what is done about it, of the names in Actions.
	Actions []string
	// Embedded is true for the rules that come with the program.
	Embedded bool
}

// KnownActions are what a rule may ask for.
var KnownActions = map[string]bool{
	"end_sessions": true, "block_address": true, "freeze_user": true, "cut_practice": true, "cut_service": true, "notify_user": true,
}

// Bounds of a pack. History of the longest window is read again whenever detection starts.
const (
	MaxBytes    = 256 << 10
	MaxRules    = 200
	MaxCounters = 100
	MinWindow   = time.Second
	MaxWindow   = 24 * time.Hour
)
