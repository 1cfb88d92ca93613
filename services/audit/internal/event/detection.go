package event

import (
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// MethodDetect names the job that holds the log against rules, in the events that tell what it found.
const MethodDetect = "jobs/Detect"

// Detection says whether an event tells of a detection.
type Detection int

// What an event can tell of detection.
const (
	NotDetected Detection = iota
	// Detected: the event is an alert, whatever its risk.
	Detected
	// DetectedAgain: the entry that was looked at is an alert by itself, and there is no second one.
	DetectedAgain
)

// DetectionOf reads it from the event. Only the audit service's own events can tell of a detection.
func DetectionOf(e *auditv1.Event) Detection {
	switch {
	case e.GetService() != accessv1.Service_SERVICE_AUDIT || e.GetMethod() != MethodDetect:
		return NotDetected
	case e.GetCode() == int32(codes.AlreadyExists):
		return DetectedAgain
	}
	return Detected
}
