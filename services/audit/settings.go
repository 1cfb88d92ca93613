package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/carekeep/carekeep/libs/calendar"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/audit/internal/reports"
)

// Settings is the configuration file; config/audit.example.yaml explains it.
type Settings struct {
	Server   server.Config  `yaml:",inline"`
	Database pg.Config      `yaml:"database" config:"required"`
	Broker   Broker         `yaml:"broker" config:"required"`
	Transit  transit.Config `yaml:"transit" config:"required"`
	// CheckpointDir is a folder outside the database for copies of signed checkpoints.
	CheckpointDir config.Path `yaml:"checkpoint_dir" config:"required"`
	// CheckpointBucket is a second place for them.
	CheckpointBucket CheckpointBucket `yaml:"checkpoint_bucket"`
	// LogName is the log's origin, which its verifier key carries. It never changes.
	LogName string  `yaml:"log_name" config:"required"`
	Reports Reports `yaml:"reports"`
	// Tiles is where the gateway reads the log for everybody.
	Tiles Tiles `yaml:"tiles"`
	// Witnesses cosign checkpoints.
	Witnesses []Witness `yaml:"witnesses"`

	// Reading bounds what readers of the log take.
	Reading   Reading   `yaml:"reading"`
	Incidents Incidents `yaml:"incidents"`
	// Detection holds the log against rules.
	Detection Detection `yaml:"detection"`
	// Retention is how long entries are kept.
	Retention Retention `yaml:"retention"`
	// Response is what is done about what the rules find.
	Response Response `yaml:"response"`
}

// Reports is how vulnerability reports are handled.
type Reports struct {
	// Nation is whose bank holidays are no business days: england-and-wales, scotland,
	// northern-ireland, or none.
	Nation string `yaml:"nation" config:"required"`
}

// clock counts the business days.
func (r Reports) clock() (reports.Clock, error) {
	if r.Nation == "none" {
		return reports.Clock{}, nil
	}
	nation, err := calendar.ParseNation(r.Nation)
	return reports.Clock{Nation: nation}, err
}

// Reading bounds live tails; zero means the default.
type Reading struct {
	// StallSeconds is how long a reader may take nothing before it is cut; 10 by default.
	StallSeconds int `yaml:"stall_seconds"`
	// Tails is how many tails one replica serves at once; 64 by default.
	Tails int `yaml:"tails"`
}

// Broker is the broker, and what the stream needs that this service makes.
type Broker struct {
	outbox.Broker `yaml:",inline"`
	// Replicas is how many servers keep each message; 1 by default.
	Replicas int `yaml:"replicas"`
}

// Validate implements config.Validator.
func (s *Settings) Validate() error {
	if s.Broker.Replicas < 0 || s.Broker.Replicas > 5 {
		return errors.New("broker.replicas must be 1 to 5, or left out for 1")
	}
	if s.Reading.StallSeconds < 0 || s.Reading.Tails < 0 {
		return errors.New("reading.stall_seconds and reading.tails must be positive, or left out for 10 and 64")
	}
	s.Reading.StallSeconds, s.Reading.Tails = cmp.Or(s.Reading.StallSeconds, 10), cmp.Or(s.Reading.Tails, 64)
	// A name that no verifier key can carry would be found out only at the first checkpoint.
	if _, err := ledger.VerifierKey(s.LogName, make([]byte, 32)); err != nil {
		return fmt.Errorf("log_name: %w", err)
	}
	if _, err := s.Reports.clock(); err != nil {
		return errors.New("reports.nation must be england-and-wales, scotland, northern-ireland or none")
	}
	if _, err := s.Incidents.path(); err != nil {
		return fmt.Errorf("incidents.escalation: %w", err)
	}
	return nil
}
