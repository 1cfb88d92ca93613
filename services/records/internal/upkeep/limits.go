package upkeep

import (
	"errors"
	"fmt"
	"time"
)

// Limits say when keys are replaced and how fast the jobs may go. Zero means the
// default; a limit of a standard can be made stricter and not looser.
type Limits struct {
	PracticeKeyDays int   `yaml:"practice_key_days"` // 365; at most 730 (SP 800-57 part 1, 5.3.6)
	DataKeyDays     int   `yaml:"data_key_days"`     // 730, and at most that
	DataKeySeals    int64 `yaml:"data_key_seals"`    // 2^30; at most 2^31 (SP 800-38D 8.3, halved)
	TrimDays        int   `yaml:"trim_days"`         // 35, and at most that: older backups are gone by then
	ScrubDays       int   `yaml:"scrub_days"`        // 30
	PurgeDays       int   `yaml:"purge_days"`        // 1: how often patients whose retention has ended are counted, or purged where the practice says so
	ResealPerSecond int   `yaml:"reseal_per_second"` // 200 documents
	ScrubPerSecond  int   `yaml:"scrub_per_second"`  // 1,000 documents
	PollSeconds     int   `yaml:"poll_seconds"`      // 10: how often a replica looks for jobs that another one was asked for
}

const (
	maxKeyDays  = 730
	maxSeals    = 1 << 31
	minSeals    = 1 << 20 // a re-encryption counts as seals too: below, a large chart would be due again at once
	maxTrimDays = 35
	day         = 24 * time.Hour
)

// Validate implements config.Validator.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name       string
		value, max int64
		why        string
	}{
		{"practice_key_days", int64(l.PracticeKeyDays), maxKeyDays, "a key-encryption key encrypts for two years at most (SP 800-57)"},
		{"data_key_days", int64(l.DataKeyDays), maxKeyDays, "a data key encrypts for two years at most (SP 800-57)"},
		{"data_key_seals", l.DataKeySeals, maxSeals, "random nonces allow no more seals under one key (SP 800-38D)"},
		{"trim_days", int64(l.TrimDays), maxTrimDays, "what was erased must be unreadable in backups by then"},
		{"scrub_days", int64(l.ScrubDays), 365, "a change from outside must not stay unseen for years"},
		{"purge_days", int64(l.PurgeDays), 31, "what is to end must not be kept for months"},
		{"reseal_per_second", int64(l.ResealPerSecond), 100_000, "it holds care up"},
		{"scrub_per_second", int64(l.ScrubPerSecond), 100_000, "it holds care up"},
		{"poll_seconds", int64(l.PollSeconds), 3600, "jobs would wait"},
	} {
		switch {
		case f.value < 0:
			return errors.New(f.name + " must be positive, or left out for its default")
		case f.value > f.max:
			return fmt.Errorf("%s must be at most %d: %s", f.name, f.max, f.why)
		}
	}
	if l.DataKeySeals != 0 && l.DataKeySeals < minSeals {
		return fmt.Errorf("data_key_seals must be at least %d: a re-encryption counts as seals too", minSeals)
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		value    *int
		standard int
	}{
		{&l.PracticeKeyDays, 365}, {&l.DataKeyDays, maxKeyDays}, {&l.TrimDays, maxTrimDays}, {&l.ScrubDays, 30}, {&l.PurgeDays, 1},
		{&l.ResealPerSecond, 200}, {&l.ScrubPerSecond, 1000}, {&l.PollSeconds, 10},
	} {
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	if l.DataKeySeals == 0 {
		l.DataKeySeals = 1 << 30 // half: it is replaced before it refuses
	}
	return l
}
