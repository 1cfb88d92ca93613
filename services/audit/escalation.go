package main

import (
	"errors"
	"time"

	"github.com/carekeep/carekeep/services/audit/internal/incident"
)

// Incidents is how incidents escalate.
type Incidents struct {
	// Escalation is whom a critical incident goes to while nobody takes it on, in order. Left
	// out, it goes to security-officer after 60 minutes, to administrator after 120, to owner after 240.
	Escalation []Escalation `yaml:"escalation"`
}

// Escalation is one step of the path.
type Escalation struct {
	Recipient    string `yaml:"recipient"`
	AfterMinutes int    `yaml:"after_minutes"`
}

// latestEscalation is when the first step has to come (claim DH-51).
const latestEscalation = time.Hour

func (i Incidents) path() ([]incident.Level, error) {
	list := i.Escalation
	if len(list) == 0 {
		list = []Escalation{{"security-officer", 60}, {"administrator", 120}, {"owner", 240}}
	}
	path := make([]incident.Level, len(list))
	for n, e := range list {
		path[n] = incident.Level{Recipient: e.Recipient, After: time.Duration(e.AfterMinutes) * time.Minute}
		if e.Recipient == "" || e.AfterMinutes < 1 {
			return nil, errors.New("name a recipient and at least 1 minute for each step")
		}
		if n > 0 && path[n].After <= path[n-1].After {
			return nil, errors.New("each step comes later than the one before")
		}
	}
	if path[0].After > latestEscalation {
		return nil, errors.New("the first step comes after 60 minutes at the latest")
	}
	return path, nil
}
