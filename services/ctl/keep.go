package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

// keep makes a file for its owner alone, whole or not at all. One that exists stays as it is.
func keep(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: remove it or name another file", name)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(write(file), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// keepText makes a file of a text, where a file is named.
func keepText(name, text string) error {
	if name == "" {
		return nil
	}
	return keep(name, func(file io.Writer) error {
		_, err := io.WriteString(file, text)
		return err
	})
}

// form is how a command shows what came of it.
type form struct {
	JSON bool `name:"json" help:"Print each result as JSON, one a line, as the REST API gives it."`
}

// display prints results as JSON, or else as the command does.
func display[M proto.Message](f form, t *terminal, results []M, table func() error) error {
	if !f.JSON {
		return table()
	}
	for _, m := range results {
		raw, err := protojson.Marshal(m)
		if err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
		fmt.Fprintf(t.out, "%s\n", raw)
	}
	return nil
}

// word is an enum's value as a flag takes it.
func word(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(value.String(), prefix), "_", "-"))
}

// sure is asked before something that nobody can undo.
type sure struct {
	Yes bool `help:"Do not ask that the patient's id or the practice's name is typed again."`
}

// confirm asks that a name is typed again.
func (s sure) confirm(ctx context.Context, t *terminal, deed, name string) error {
	if s.Yes {
		return nil
	}
	typed, err := t.ask(ctx, fmt.Sprintf("%s. It cannot be undone. Type %s to go on: ", deed, name))
	if err != nil {
		return err
	}
	if typed != name {
		return fmt.Errorf("not done: what was typed is not %s", name)
	}
	return nil
}

// confirmPractice asks for the name of the caller's practice.
func (s sure) confirmPractice(ctx context.Context, t *terminal, client *rest.Client, deed string) error {
	if s.Yes {
		return nil
	}
	var self authv1.Self
	if err := client.Call(ctx, http.MethodGet, "/v1/self", nil, &self); err != nil {
		return fmt.Errorf("ask for your practice: %w", err)
	}
	var practice authv1.Practice
	if err := client.Call(ctx, http.MethodGet, "/v1/"+self.GetUser().GetPractice(), nil, &practice); err != nil {
		return fmt.Errorf("ask for your practice: %w", err)
	}
	return s.confirm(ctx, t, deed, practice.GetDisplayName())
}
