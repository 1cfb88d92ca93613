package main

import (
	"io"

	"github.com/carekeep/carekeep/deploy/local/generator"
)

type generateCommand struct {
	Patients int   `default:"10" help:"How many patients, up to 1000000."`
	First    int   `default:"0" help:"Number of the first one."`
	Seed     int64 `default:"1" help:"The same seed gives the same patients."`
}

// Run writes the bundle.
func (c *generateCommand) Run(out io.Writer) error {
	return generator.Bundle(out, generator.Options{Seed: c.Seed, Patients: c.Patients, First: c.First})
}
