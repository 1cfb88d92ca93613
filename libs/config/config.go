// Package config reads one strict YAML file per service: whatever the program
// does not know, and whatever a required setting lacks, stops the start. It is
// not for values that change while a service runs.
//
// Struct tags say what a field is, in a `config:"…"` tag beside the yaml one:
//
//	required   the zero value is refused, by its key
//	path       a string that names a file; relative ones start at the config file's folder
//
// Any struct in the tree may have a Validate() error method; it runs after its
// own fields were checked, and its error comes out behind the key it is about.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Path is a file name; a relative one starts at the folder of the configuration file.
type Path string

// Validator is what a configuration struct implements to check itself.
type Validator interface{ Validate() error }

var unknownField = regexp.MustCompile(`^line (\d+): field (.+) not found in type .*$`)

// Load reads the one YAML document in the file at path into the struct that
// into points to. Errors name the file, the line or key, and what to change.
func Load(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := decode(raw, into); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := check(into, folder); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func decode(raw []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	err := dec.Decode(into)
	if errors.Is(err, io.EOF) {
		return errors.New("the file holds no settings")
	}
	if err != nil {
		return readable(err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one YAML document: keep one, remove the `---` separators")
	}
	return nil
}

// readable says in words which key is unknown; the YAML library names Go types.
func readable(err error) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return err
	}
	lines := make([]string, 0, len(typed.Errors))
	for _, text := range typed.Errors {
		if m := unknownField.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("line %s: unknown key %q", m[1], m[2])
		}
		lines = append(lines, text)
	}
	return errors.New(strings.Join(lines, "; "))
}
