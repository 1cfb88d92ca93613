package rules

import (
	"fmt"
	"regexp"
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/detect/counter"
)

// compiler turns texts into a pack and gathers what is wrong with them.
type compiler struct {
	pack     *Pack
	cel      *conditions
	problems []error
}

var (
	idForm   = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,63}$`)
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{2,63}$`)
)

const (
	maxTitle = 120
	maxAbout = 2000
)

// wrong notes a problem of a line.
func (c *compiler) wrong(line int, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, args...)))
}

// lay compiles the base, less what own replaces or leaves out, and own.
func (c *compiler) lay(base, own *file) {
	without := map[string]bool{}
	for _, w := range own.Without {
		if !slices.ContainsFunc(base.Rules, func(r ruleText) bool { return r.ID.text == w.text }) {
			c.wrong(w.line, "without: no embedded rule has the id %q; `carekeep audit rules list` shows them", w.text)
		}
		without[w.text] = true
	}
	counters := slices.Concat(base.Counters, own.Counters)
	c.declare(counters)
	if len(c.problems) > 0 {
		return
	}
	for i, text := range counters {
		c.counter(i, text)
	}
	seen := map[string]bool{}
	for _, r := range own.Rules {
		if seen[r.ID.text] {
			c.wrong(r.ID.line, "the id %s stands twice: give each rule its own", r.ID.text)
		}
		seen[r.ID.text] = true
	}
	for _, text := range keep(base.Rules, own.Rules, func(r ruleText) string { return r.ID.text }, without) {
		c.rule(text, !seen[text.ID.text])
	}
}

// declare makes the names of the counters known, so that conditions can use them.
func (c *compiler) declare(texts []counterText) {
	var names []string
	for _, t := range texts {
		switch name := t.Name.text; {
		case !nameForm.MatchString(name):
			c.wrong(t.Name.or(t.Window.line), "a counter needs a name of small letters, digits and _, as failed_sign_ins; %q is none", name)
		case slices.Contains(names, name):
			c.wrong(t.Name.line, "the counter %s is there already: choose another name", name)
		default:
			if _, taken := byName[name]; taken {
				c.wrong(t.Name.line, "%s is a field of events: choose another name", name)
			}
			names = append(names, name)
		}
	}
	var err error
	if c.cel, err = newConditions(names); err != nil {
		c.problems = append(c.problems, err)
	}
}

func (c *compiler) counter(place int, t counterText) {
	what, line := "counter "+t.Name.text, t.Name.line
	n := &Counter{Name: t.Name.text, On: c.actions(what, t.On), By: c.fields(what, line, t.By)}
	var err error
	if n.Window, err = duration(t.Window, MinWindow, MaxWindow); err != nil {
		c.wrong(t.Window.or(line), "%s: window: %v", what, err)
	}
	switch {
	case t.Distinct.text != "" && t.Changes.text != "":
		c.wrong(line, "%s: it has both distinct and changes: keep one, or make two counters", what)
	case t.Distinct.text != "":
		n.Kind, n.Value = counter.Distinct, c.field(what+": distinct", t.Distinct)
	case t.Changes.text != "":
		n.Kind, n.Value = counter.Changes, c.field(what+": changes", t.Changes)
	}
	if t.When.text != "" {
		if n.When = c.condition(what, t.When); n.When != nil {
			for _, other := range n.When.Counters {
				if other >= place {
					c.wrong(t.When.line, "%s: when: it names %s, which is counted later: put that one first", what, c.cel.counters[other])
				}
			}
		}
	}
	c.pack.Counters = append(c.pack.Counters, n)
	c.pack.Window = max(c.pack.Window, n.Window)
}

func (c *compiler) rule(t ruleText, isEmbedded bool) {
	what, line := "rule "+t.ID.text, t.ID.or(t.When.or(t.Title.line))
	if !idForm.MatchString(t.ID.text) {
		c.wrong(line, "a rule needs an id of capitals, digits and _, as BRUTE_FORCE; %q is none", t.ID.text)
		return
	}
	r := &Rule{ID: t.ID.text, Title: t.Title.text, About: t.About.text, Embedded: isEmbedded, On: c.actions(what, t.On)}
	if r.Title == "" || len(r.Title) > maxTitle {
		c.wrong(t.Title.or(line), "%s: title: say in 1 to %d bytes what happened", what, maxTitle)
	}
	if len(r.About) > maxAbout {
		c.wrong(t.About.line, "%s: about: at most %d bytes are taken", what, maxAbout)
	}
	level, known := auditv1.Risk_value["RISK_"+t.Risk.text]
	if r.Risk = auditv1.Risk(level); !known || r.Risk == auditv1.Risk_RISK_UNSPECIFIED {
		c.wrong(t.Risk.or(line), "%s: risk: use LOW, MEDIUM, HIGH or CRITICAL", what)
	}
	if t.When.text == "" {
		c.wrong(line, "%s: when: say in CEL when it fires, as reason == \"DECOY_TOUCHED\"", what)
	} else {
		r.When = c.condition(what, t.When)
	}
	r.By = c.fields(what, line, t.By)
	var err error
	if r.Quiet, err = duration(t.Quiet, 0, MaxWindow); err != nil {
		c.wrong(t.Quiet.or(line), "%s: quiet: %v", what, err)
	}
	for _, a := range t.Actions {
		if !KnownActions[a.text] {
			c.wrong(a.line, "%s: actions: %q is none of %s", what, a.text, listed(KnownActions))
		}
		r.Actions = append(r.Actions, a.text)
	}
	c.pack.Rules = append(c.pack.Rules, r)
	c.pack.Quiet = max(c.pack.Quiet, r.Quiet)
}

// actions reads the actions of events; nil for all.
func (c *compiler) actions(what string, list []word) map[accessv1.Action]bool {
	if len(list) == 0 {
		return nil
	}
	on := map[accessv1.Action]bool{}
	for _, w := range list {
		value, known := accessv1.Action_value["ACTION_"+w.text]
		if !known {
			c.wrong(w.line, "%s: on: %q is no action; there are %s", what, w.text, listed(fields[Action].values))
		}
		on[accessv1.Action(value)] = true
	}
	return on
}

// everything stands for one count of all events.
const everything = "platform"

// fields reads what is told apart.
func (c *compiler) fields(what string, line int, list words) []Field {
	if len(list) == 0 {
		c.wrong(line, "%s: by: say what is told apart: %s, one of %s, or a list of those", what, everything, textFields())
	}
	if len(list) == 1 && list[0].text == everything {
		return nil
	}
	var by []Field
	for _, w := range list {
		by = append(by, c.field(what+": by", w))
	}
	return by
}

func (c *compiler) field(what string, w word) Field {
	f, known := byName[w.text]
	if !known || !f.text() {
		c.wrong(w.line, "%s: %q cannot be used here; use one of %s", what, w.text, textFields())
	}
	return f
}

func (c *compiler) condition(what string, w word) *Condition {
	made, problems := c.cel.compile(w)
	for _, p := range problems {
		c.wrong(p.line, "%s: when: %s", what, p.text)
	}
	return made
}
