package main

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // time zones do not depend on what the machine has installed

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/services/audit/internal/api"
	"github.com/carekeep/carekeep/services/audit/internal/detect"
	"github.com/carekeep/carekeep/services/audit/internal/detect/engine"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Detection is what the rules are and what they reckon with.
type Detection struct {
	// RulesFile is laid beside the embedded rules and read again when it changes. Empty for none.
	RulesFile config.Path `yaml:"rules_file"`
	// TimeZone is where it is outside working hours for practices that have no zone of their own; UTC by default.
	TimeZone string `yaml:"time_zone"`
	// PracticeTimeZones are the zones of practices, by their UUIDs.
	PracticeTimeZones map[string]string `yaml:"practice_time_zones"`
	// Keys is how many keys each counter keeps; 50,000 by default, about 200 bytes each.
	Keys int `yaml:"keys"`
}

const defaultKeys = 50_000

func (d Detection) keys() int {
	if d.Keys == 0 {
		return defaultKeys
	}
	return d.Keys
}

// zones are the clocks of practices, whose zones Validate has checked.
func (d Detection) zones() (engine.Zones, error) {
	otherwise, err := zone(d.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time_zone: %w", err)
	}
	of := map[string]*time.Location{}
	for practice, name := range d.PracticeTimeZones {
		id, err := uuid.Parse(practice)
		if err != nil {
			return nil, fmt.Errorf("practice_time_zones: %q is no UUID of a practice", practice)
		}
		if of[id.String()], err = zone(name); err != nil {
			return nil, fmt.Errorf("practice_time_zones: %w", err)
		}
	}
	return func(practice string) *time.Location {
		if known := of[practice]; known != nil {
			return known
		}
		return otherwise
	}, nil
}

func zone(name string) (*time.Location, error) {
	found, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone; use a name such as Europe/London", name)
	}
	return found, nil
}

// Validate implements config.Validator.
func (d *Detection) Validate() error {
	if d.Keys != 0 && (d.Keys < 1000 || d.Keys > 5_000_000) {
		return errors.New("keys must be 1000 to 5000000, or left out for 50000")
	}
	_, err := d.zones()
	return err
}

// detection is how the log is held against rules.
type detection struct {
	api      *api.Detection
	source   *detect.Source
	detector *detect.Detector
}

func (v *service) newDetection(d Detection, entries *store.Store, now func() time.Time) (*detection, error) {
	zones, err := d.zones()
	if err != nil {
		return nil, err
	}
	source, err := detect.NewSource(string(d.RulesFile), v.log)
	if err != nil {
		return nil, err
	}
	log := store.NewDetect(v.pool)
	detector, err := detect.New(detect.Options{
		Log: log, Sink: v.own, Source: source, Zones: zones, Keys: d.keys(), Logger: v.log, Now: now,
	})
	if err != nil {
		return nil, err
	}
	return &detection{source: source, detector: detector, api: api.NewDetection(api.DetectionOptions{
		Log: entries, Places: log, Source: source, Zones: zones, Keys: d.keys(), Now: now,
	})}, nil
}
