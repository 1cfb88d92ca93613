package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
)

type totpCommand struct {
	dataFlag
	Name string `arg:"" help:"Sign-in name of a seeded user, such as dr.smith."`
}

// Run prints the code alone on standard output, for use in other commands.
func (c *totpCommand) Run(out io.Writer) error {
	people, err := seed.Load(filepath.Join(c.Data, "credentials.json"))
	if err != nil {
		return err
	}
	p := people.Person(c.Name)
	if p == nil {
		var names []string
		for _, known := range people.People {
			names = append(names, known.Username)
		}
		return fmt.Errorf("there is no seeded user %s; there are %s", c.Name, strings.Join(names, ", "))
	}
	now := time.Now()
	code, err := api.Code(p.TotpSecret, now)
	if err != nil {
		return err
	}
	say(os.Stderr, "valid for %s, once\n", now.Truncate(api.Step).Add(api.Step).Sub(now).Round(time.Second))
	say(out, "%s\n", code)
	return nil
}
