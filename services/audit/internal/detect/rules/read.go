package rules

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed default.yaml
var embedded []byte

// Default is the pack that comes with the program.
func Default() (*Pack, error) { return Read(nil) }

// Read lays the text of a rules file beside the embedded pack: a rule replaces the embedded one of
// its id, and what stands under `without` is left out. Nil is the embedded pack alone.
// Its errors name lines of the file and say what to change; there may be several.
func Read(text []byte) (*Pack, error) { return beside(embedded, text) }

func beside(under, text []byte) (*Pack, error) {
	base, err := decode(under)
	if err != nil {
		return nil, fmt.Errorf("embedded rules: %w", err)
	}
	own := &file{}
	if text != nil {
		if own, err = decode(text); err != nil {
			return nil, err
		}
	}
	c := &compiler{pack: &Pack{}}
	c.lay(base, own)
	if len(c.problems) > 0 {
		return nil, errors.Join(c.problems...)
	}
	sum := sha256.Sum256(append(slices.Clip(bytes.Clone(under)), text...))
	c.pack.Digest = hex.EncodeToString(sum[:])
	return c.pack, nil
}

// file is a rules file as it stands.
type file struct {
	Version  int           `yaml:"version"`
	Without  []word        `yaml:"without"`
	Counters []counterText `yaml:"counters"`
	Rules    []ruleText    `yaml:"rules"`
}

type counterText struct {
	Name     word   `yaml:"name"`
	On       []word `yaml:"on"`
	When     word   `yaml:"when"`
	By       words  `yaml:"by"`
	Window   word   `yaml:"window"`
	Distinct word   `yaml:"distinct"`
	Changes  word   `yaml:"changes"`
}

type ruleText struct {
	ID      word   `yaml:"id"`
	Title   word   `yaml:"title"`
	About   word   `yaml:"about"`
	Risk    word   `yaml:"risk"`
	On      []word `yaml:"on"`
	When    word   `yaml:"when"`
	By      words  `yaml:"by"`
	Quiet   word   `yaml:"quiet"`
	Actions []word `yaml:"actions"`
}

// word is a text and the line it stands in.
type word struct {
	text  string
	line  int
	block bool // it begins in the line after
}

// or is the line, or another where the text is not there at all.
func (w word) or(line int) int {
	if w.line == 0 {
		return line
	}
	return w.line
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *word) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: this must be a single text", n.Line)
	}
	w.text, w.line, w.block = n.Value, n.Line, n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	return nil
}

// words are one text or a list of them.
type words []word

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = make(words, 1)
		return (*w)[0].UnmarshalYAML(n)
	}
	return n.Decode((*[]word)(w))
}

var unknownKey = regexp.MustCompile(`^line (\d+): field (.+) not found in type .*\.(\w+)$`)

// decode reads one YAML document that holds nothing unknown.
func decode(text []byte) (*file, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("the rules have %d bytes, at most %d are taken", len(text), MaxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	f := &file{}
	if err := dec.Decode(f); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: write `version: 1` and your rules")
	} else if err != nil {
		return nil, readable(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one YAML document: keep one, remove the `---` separators")
	}
	switch {
	case f.Version != 1:
		return nil, errors.New("line 1: the file must say `version: 1`, the only one there is")
	case len(f.Rules) > MaxRules:
		return nil, fmt.Errorf("there are %d rules, at most %d are taken", len(f.Rules), MaxRules)
	case len(f.Counters) > MaxCounters:
		return nil, fmt.Errorf("there are %d counters, at most %d are taken", len(f.Counters), MaxCounters)
	}
	return f, nil
}

// readable says in words which key is unknown; the YAML library names Go types.
func readable(err error) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return err
	}
	lines := make([]string, 0, len(typed.Errors))
	for _, text := range typed.Errors {
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("line %s: unknown key %q: correct or remove it", m[1], m[2])
		}
		lines = append(lines, text)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// duration reads a length of time within bounds; whole days as 1d.
func duration(w word, least, most time.Duration) (time.Duration, error) {
	text := w.text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 1000 {
			text = fmt.Sprintf("%dh", 24*n)
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("must be a length of time from %s to %s, as 15m", least, most)
	}
	return d, nil
}

// keep are the entries of a base that no entry of own replaces, and then those of own.
func keep[T any](base, own []T, name func(T) string, without map[string]bool) []T {
	replaced := maps.Clone(without)
	for _, o := range own {
		replaced[name(o)] = true
	}
	return append(slices.DeleteFunc(slices.Clone(base), func(b T) bool { return replaced[name(b)] }), own...)
}
