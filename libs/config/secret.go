package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// redacted is all that a secret ever shows of itself.
const redacted = "[redacted]"

// Secret is a value that a configuration file only points to, as
// `{env: NAME}` or `{file: path}`; one written in the file itself is refused.
type Secret struct {
	env, file, value string
}

// Value gives the secret itself.
func (s Secret) Value() string { return s.value }

// String hides the secret from every fmt verb that asks for text.
func (s Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from JSON and YAML encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalYAML accepts a pointer to the secret. No error repeats what was
// written: somebody may have put the secret there.
func (s *Secret) UnmarshalYAML(node *yaml.Node) error {
	use := fmt.Errorf("line %d: write a secret as {env: NAME} or {file: path}", node.Line)
	if node.Kind != yaml.MappingNode || len(node.Content) != 2 {
		return use
	}
	name := node.Content[1]
	if name.Kind != yaml.ScalarNode || name.Value == "" {
		return use
	}
	switch node.Content[0].Value {
	case "env":
		s.env = name.Value
	case "file":
		s.file = name.Value
	default:
		return use
	}
	return nil
}

func (s *Secret) read(folder string) error {
	switch {
	case s.env != "":
		value, ok := os.LookupEnv(s.env)
		if !ok || value == "" {
			return fmt.Errorf("the environment variable %s is not set", s.env)
		}
		s.value = value
	case s.file != "":
		path := s.file
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if s.value = strings.TrimRight(string(raw), "\r\n"); s.value == "" {
			return errors.New("the secret file " + path + " is empty")
		}
	}
	return nil
}
