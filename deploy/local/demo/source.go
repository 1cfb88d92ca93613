package demo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/carekeep/carekeep/deploy/local/generator"
)

const (
	ssnSystem = generator.SSNSystem
	// generated is how many patients are made where there is no folder of bundles.
	generated = 24
)

// bundle is one source of patients.
type bundle struct {
	name string
	open func() (file, error)
}

// file is a bundle that can be read again, when a limit makes the import wait.
type file interface {
	io.ReadSeeker
	io.Closer
}

// memory is a bundle that was generated.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// entry is a resource as it stands in its bundle.
type entry struct {
	kind, id string
	raw      []byte
}

// chart is the patient whom the story is about, as the bundle has it.
type chart struct {
	id      string
	ssn     string
	patient patient
	entries []entry
}

// patient is the part of a FHIR Patient that the story compares and searches for.
type patient struct {
	Identifier []struct {
		System, Value string
	}
	Name []struct {
		Family string
		Given  []string
	}
	Telecom   []struct{ System, Value string }
	BirthDate string
	Address   []struct {
		Line []string
		City string
	}
}

// bundles lists what there is to import.
func bundles(folder string) ([]bundle, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	if folder == "" || len(files) == 0 {
		return fromGenerator(), nil
	}
	var found []bundle
	for _, path := range files {
		found = append(found, bundle{name: filepath.Base(path), open: func() (file, error) { return os.Open(path) }})
	}
	return found, nil
}

func fromGenerator() []bundle {
	var made []bundle
	for i := range generated {
		made = append(made, bundle{name: fmt.Sprintf("generated patient %d", i), open: func() (file, error) {
			var out bytes.Buffer
			err := generator.Bundle(&out, generator.Options{Seed: 1, First: i, Patients: 1})
			return memory{bytes.NewReader(out.Bytes())}, err
		}})
	}
	return made
}

// entries reads a bundle one entry at a time.
func (b bundle) entries(each func(entry) error) error {
	file, err := b.open()
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read from
	decoder := json.NewDecoder(file)
	for {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("bundle %s: no entries: %w", b.name, err)
		}
		if token == "entry" {
			break
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("bundle %s: %w", b.name, err)
	}
	for decoder.More() {
		var item struct{ Resource json.RawMessage }
		var head struct{ ResourceType, ID string }
		if err := errors.Join(decoder.Decode(&item)); err != nil {
			return fmt.Errorf("bundle %s: %w", b.name, err)
		}
		if err := json.Unmarshal(item.Resource, &head); err != nil {
			return fmt.Errorf("bundle %s: %w", b.name, err)
		}
		if err := each(entry{kind: head.ResourceType, id: head.ID, raw: slices.Clone(item.Resource)}); err != nil {
			return err
		}
	}
	return nil
}

// protagonist finds a patient with a social security number and a prescription.
func protagonist(from []bundle) (*chart, error) {
	for _, b := range from {
		c := &chart{}
		err := b.entries(func(e entry) error {
			c.entries = append(c.entries, e)
			if e.kind != "Patient" {
				return nil
			}
			c.id = e.id
			return json.Unmarshal(e.raw, &c.patient)
		})
		if err != nil {
			return nil, err
		}
		for _, identifier := range c.patient.Identifier {
			if identifier.System == ssnSystem {
				c.ssn = identifier.Value
			}
		}
		if c.ssn != "" && c.first("MedicationRequest") != nil {
			return c, nil
		}
	}
	return nil, errors.New("no bundle has a patient with a social security number and a prescription")
}

// first is the first entry of a type, nil where there is none.
func (c *chart) first(kind string) *entry {
	at := slices.IndexFunc(c.entries, func(e entry) bool { return e.kind == kind })
	if at < 0 {
		return nil
	}
	return &c.entries[at]
}

func (c *chart) count(kind string) int {
	n := 0
	for _, e := range c.entries {
		if e.kind == kind {
			n++
		}
	}
	return n
}

// text reads a string at a path in the first resource of a type; "" where there is none.
func (c *chart) text(kind string, path ...string) string {
	e := c.first(kind)
	if e == nil {
		return ""
	}
	var node any
	if json.Unmarshal(e.raw, &node) != nil {
		return ""
	}
	for _, key := range path {
		if list, ok := node.([]any); ok && len(list) > 0 {
			node = list[0]
		}
		fields, _ := node.(map[string]any)
		node = fields[key]
	}
	text, _ := node.(string)
	if key := path[len(path)-1]; key == "data" {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return ""
		}
		return string(raw)
	}
	return strings.TrimSpace(text)
}
