package main

import (
	"errors"
	"fmt"

	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Retention is how long entries are kept, and whether they are deleted after that.
type Retention struct {
	// Mode is report, the default, or purge.
	Mode string `yaml:"mode"`
	// EntryYears are calendar years, 7 by default and at least; EventDays are 365 by default and at least.
	EntryYears int `yaml:"entry_years"`
	EventDays  int `yaml:"event_days"`
}

// The least is the law's (claims DH-47, DH-48), and the database's too.
const (
	leastYears, mostYears = 7, 100
	leastDays, mostDays   = 365, 36500
)

// Validate implements config.Validator.
func (r Retention) Validate() error {
	switch {
	case r.Mode != "" && r.Mode != "report" && r.Mode != "purge":
		return errors.New("mode must be report or purge")
	case r.EntryYears != 0 && (r.EntryYears < leastYears || r.EntryYears > mostYears):
		return fmt.Errorf("entry_years must be %d to %d", leastYears, mostYears)
	case r.EventDays != 0 && (r.EventDays < leastDays || r.EventDays > mostDays):
		return fmt.Errorf("event_days must be %d to %d", leastDays, mostDays)
	}
	return nil
}

// keep is what the store is asked for.
func (r Retention) keep() store.Retention {
	return store.Retention{EntryYears: max(r.EntryYears, leastYears), EventDays: max(r.EventDays, leastDays)}
}
