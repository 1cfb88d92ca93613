package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

type audit struct {
	List       listEntries `cmd:"" help:"List entries of your practice, newest first."`
	Tail       tailEntries `cmd:"" help:"Show entries of your practice as they come."`
	Export     exportLog   `cmd:"" help:"Write the log to a file that can be verified."`
	Checkpoint checkpoint  `cmd:"" help:"Show the newest signed checkpoint, or keep it where the database's owner cannot reach."`
	Verify     verify      `cmd:"" help:"Verify an export of the log offline; exits with 1 where it is not whole."`

	Completeness completenessReport `cmd:"" help:"Compare the calls that services served with those in the log; exits with 1 where they differ."`

	Rules      ruleCommands      `cmd:"" help:"Rules of detection."`
	Detections detectionCommands `cmd:"" help:"What the rules found."`
	Retention  logRetention      `cmd:"" help:"Delete entries of the log whose time is over."`
	Holds      logHolds          `cmd:"" help:"Keep entries of the log from being deleted."`
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// idOf takes "{uuid}" or "{collection}/{uuid}" and returns the UUID.
func idOf(collection, text string) (string, error) {
	id := strings.ToLower(strings.TrimPrefix(text, collection+"/"))
	if !uuidForm.MatchString(id) {
		return "", fmt.Errorf("%q is not like %s/01234567-89ab-7def-8123-456789abcdef", text, collection)
	}
	return id, nil
}

// enumOf reads the name of an enum's value without its prefix.
func enumOf(values map[string]int32, names map[int32]string, prefix, text string) (int32, error) {
	if text == "" {
		return 0, nil
	}
	if value := values[prefix+strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]; value != 0 {
		return value, nil
	}
	var known []string
	for _, number := range slices.Sorted(maps.Keys(names)) { // which have gaps
		if number != 0 {
			known = append(known, strings.TrimPrefix(names[number], prefix))
		}
	}
	return 0, fmt.Errorf("%q is none of %s", text, strings.Join(known, ", "))
}

// momentOf reads a time in RFC 3339, a date in UTC, or how long ago, as 36h.
func momentOf(text string, now time.Time) (time.Time, error) {
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("a time is like 2026-11-21T13:00:00Z, 2026-11-21 (UTC) or 36h (ago)")
}
