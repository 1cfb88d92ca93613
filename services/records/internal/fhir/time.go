package fhir

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// dateTimes are the precisions of a FHIR dateTime. Without a zone it is read as UTC.
var dateTimes = []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"}

// parseTime reads a dateTime or instant; nil where there is none.
func parseTime(s string) *timestamppb.Timestamp {
	if s == "" {
		return nil
	}
	for _, layout := range dateTimes {
		if t, err := time.Parse(layout, s); err == nil {
			return timestamppb.New(t)
		}
	}
	return nil
}

// formatTime writes a FHIR instant in UTC.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }

func validDate(s string) bool {
	for _, layout := range []string{time.DateOnly, "2006-01", "2006"} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}
