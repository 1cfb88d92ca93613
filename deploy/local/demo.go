package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/carekeep/carekeep/deploy/local/demo"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/libs/devkit"
)

type demoCommand struct {
	dataFlag
	programsFlag
	Bundles string `type:"path" help:"Folder of FHIR bundles; by default shared/fhir beside the project, or else generated patients."`
}

// Run plays the story on the stack that runs, or on a throwaway one.
func (c *demoCommand) Run(ctx context.Context, out io.Writer) error {
	place, people, done, err := c.place(ctx, out)
	if err != nil {
		return err
	}
	defer done()
	if c.Bundles == "" {
		c.Bundles = filepath.Join(devkit.Root(), "..", "shared", "fhir")
	}
	return demo.Run(ctx, demo.Options{Place: place, People: people, Bundles: c.Bundles, Out: out})
}

func (c *demoCommand) place(ctx context.Context, out io.Writer) (*stack.Place, *seed.Credentials, func(), error) {
	if stack.Running(c.Data) {
		place, err := stack.Attach(c.Data)
		if err != nil {
			return nil, nil, nil, err
		}
		say(out, "The story plays on the stack that runs on %s.\n", relative(c.Data))
		people, err := seed.Load(place.Credentials())
		return place, people, func() {}, err
	}
	say(out, "No stack is running, so the story plays on a throwaway one.\n")
	s, err := stack.Start(ctx, stack.Options{Binaries: c.Programs, Stdout: out})
	if err != nil {
		return nil, nil, nil, err
	}
	people, err := seed.Run(ctx, s.Place)
	if err != nil {
		s.Close()
		return nil, nil, nil, err
	}
	return s.Place, people, s.Close, nil
}
