package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/carekeep/carekeep/deploy/local/demo"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/libs/devkit"
)

type demoCommand struct {
	dataFlag
	Bundles string `type:"path" help:"Folder of FHIR bundles; by default shared/fhir beside the project, or else generated patients."`
}

// Run plays the story on the stack that runs, or on a throwaway one.
func (c *demoCommand) Run(ctx context.Context, out io.Writer) error {
	place, done, err := c.place(ctx, out)
	if err != nil {
		return err
	}
	defer done()
	people, err := seed.Run(ctx, place)
	if err != nil {
		return err
	}
	if c.Bundles == "" {
		c.Bundles = filepath.Join(devkit.Root(), "..", "shared", "fhir")
	}
	return demo.Run(ctx, demo.Options{Place: place, People: people, Bundles: c.Bundles, Out: out})
}

func (c *demoCommand) place(ctx context.Context, out io.Writer) (*stack.Place, func(), error) {
	if stack.Running(c.Data) {
		place, err := stack.Attach(c.Data)
		if err != nil {
			return nil, nil, errors.Join(err, ctx.Err())
		}
		say(out, "The story plays on the stack that runs on %s.\n", relative(c.Data))
		return place, func() {}, nil
	}
	say(out, "No stack is running, so the story plays on a throwaway one.\n")
	s, err := stack.Start(ctx, stack.Options{Stdout: out})
	if err != nil {
		return nil, nil, err
	}
	return s.Place, s.Close, nil
}
