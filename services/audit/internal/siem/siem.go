// Package siem writes entries of the log as lines that other systems take: CEF, OCSF, JSON,
// and the log's own text form. It is pure, and it decides neither who may have a line nor
// which entries there are. No value can end a line or add a field to it.
package siem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Vendor, Product and Version name what writes the lines.
const (
	Vendor  = "carekeep"
	Product = "audit"
	Version = "1"
)

// Writer writes one entry as a line, without the line break.
type Writer func(*auditv1.Entry) ([]byte, error)

// Of returns the writer of a format.
func Of(format auditv1.EventFormat) (Writer, error) {
	switch format {
	case auditv1.EventFormat_EVENT_FORMAT_CEF:
		return CEF, nil
	case auditv1.EventFormat_EVENT_FORMAT_OCSF:
		return OCSF, nil
	case auditv1.EventFormat_EVENT_FORMAT_JSON:
		return JSON, nil
	case auditv1.EventFormat_EVENT_FORMAT_LINE:
		return func(e *auditv1.Entry) ([]byte, error) { return []byte(e.GetLine()), nil }, nil
	}
	return nil, fmt.Errorf("format %d is none of CEF, OCSF, JSON and LINE", format)
}

// JSON writes the event's own fields, by the names in event.proto, and its place in the log.
func JSON(e *auditv1.Entry) ([]byte, error) {
	event, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(e.GetEvent())
	if err != nil {
		return nil, fmt.Errorf("entry %d as JSON: %w", e.GetSeq(), err)
	}
	// protojson puts spaces where it likes; whoever compares lines must not see that.
	var compact bytes.Buffer
	if err := json.Compact(&compact, event); err != nil {
		return nil, fmt.Errorf("entry %d as JSON: %w", e.GetSeq(), err)
	}
	return json.Marshal(struct {
		Seq        int64           `json:"seq"`
		AppendTime string          `json:"append_time"`
		LeafHash   []byte          `json:"leaf_hash"`
		Event      json.RawMessage `json:"event"`
	}{e.GetSeq(), e.GetAppendTime().AsTime().Format(time.RFC3339Nano), e.GetLeafHash(), compact.Bytes()})
}

func actionName(a accessv1.Action) string { return strings.TrimPrefix(a.String(), "ACTION_") }

func outcomeName(o auditv1.Outcome) string { return strings.TrimPrefix(o.String(), "OUTCOME_") }

func serviceName(s accessv1.Service) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SERVICE_"))
}
