package edge

import (
	"fmt"
	"time"
)

// Limits bound what one client can take, in bytes and in seconds. Zero means the default.
type Limits struct {
	// JSONBytes bounds the body of every request but an import and a document.
	JSONBytes int64 `yaml:"json_bytes"`
	// FHIRBytes bounds the body of a request below /fhir/R4.
	FHIRBytes int64 `yaml:"fhir_bytes"`
	// ResponseBytes bounds one message from a service.
	ResponseBytes int `yaml:"response_bytes"`
	HeaderBytes   int `yaml:"header_bytes"`
	// LogPerSecond is how many files of the public log one client gets, a second, and four times as many at once.
	LogPerSecond int `yaml:"log_per_second"`
	// HeaderSeconds and BodySeconds bound how long headers and a JSON body, or the rest of one that
	// was refused, may take to arrive, StallSeconds how long the next piece of an import or a document may.
	HeaderSeconds int `yaml:"header_seconds"`
	BodySeconds   int `yaml:"body_seconds"`
	StallSeconds  int `yaml:"stall_seconds"`
	// WriteSeconds bounds how long a client may take to accept a piece of an answer.
	WriteSeconds int `yaml:"write_seconds"`
	IdleSeconds  int `yaml:"idle_seconds"`
	// CheckSeconds is how often the session of a live stream is asked for again.
	CheckSeconds int `yaml:"check_seconds"`
	// DrainSeconds is how long open requests may finish after a stop signal.
	DrainSeconds int `yaml:"drain_seconds"`
}

// Validate fills in the defaults.
func (l *Limits) Validate() error {
	settings := []struct {
		name     string
		value    *int
		fallback int
	}{
		{"response_bytes", &l.ResponseBytes, 64 << 20},
		{"header_bytes", &l.HeaderBytes, 32 << 10},
		{"log_per_second", &l.LogPerSecond, 50},
		{"header_seconds", &l.HeaderSeconds, 10},
		{"body_seconds", &l.BodySeconds, 30},
		{"stall_seconds", &l.StallSeconds, 60},
		{"write_seconds", &l.WriteSeconds, 60},
		{"idle_seconds", &l.IdleSeconds, 120},
		{"check_seconds", &l.CheckSeconds, 30},
		{"drain_seconds", &l.DrainSeconds, 15},
	}
	if l.JSONBytes == 0 {
		l.JSONBytes = 1 << 20
	}
	if l.FHIRBytes == 0 {
		l.FHIRBytes = 8 << 20
	}
	if l.JSONBytes < 0 || l.FHIRBytes < 0 {
		return fmt.Errorf("json_bytes is %d and fhir_bytes %d; use positive numbers or leave them out", l.JSONBytes, l.FHIRBytes)
	}
	for _, s := range settings {
		if *s.value == 0 {
			*s.value = s.fallback
		}
		if *s.value < 0 {
			return fmt.Errorf("%s is %d; use a positive number or leave it out", s.name, *s.value)
		}
	}
	return nil
}

// Body is the time limit for a JSON body, and for what is left of any body when its answer begins.
func (l Limits) Body() time.Duration { return seconds(l.BodySeconds) }

// Stall is the time limit for the next piece of an import or a document.
func (l Limits) Stall() time.Duration { return seconds(l.StallSeconds) }

// Check is how often the session of a live stream is asked for again.
func (l Limits) Check() time.Duration { return seconds(l.CheckSeconds) }

func (l Limits) write() time.Duration { return seconds(l.WriteSeconds) }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
