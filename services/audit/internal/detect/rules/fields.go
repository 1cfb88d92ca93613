package rules

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Field is something of an event that conditions can name.
type Field int

// The fields, named as in event.proto. Enums are names without their prefix, as "READ".
const (
	Action Field = iota
	Outcome
	Risk
	Service
	Caller
	Purpose
	Reason
	Method
	PracticeID
	UserID
	Username
	PatientID
	SessionID
	DeviceID
	Resource
	Address
	Network     // the /24 or /48 that the address is in
	WideNetwork // its /16 or /32
	Code
	Count
	ResourceVersion
	Hour    // 0 to 23, on the practice's clock
	Weekday // 0 is Sunday
	EventTime
	WithheldFields
	NumFields
)

// fieldInfo says what a field is called and what it holds.
type fieldInfo struct {
	name   string
	kind   *cel.Type
	values map[string]bool // all that an enum can be
}

var fields = [NumFields]fieldInfo{
	Action:          {"action", cel.StringType, names(accessv1.Action_name, "ACTION_")},
	Outcome:         {"outcome", cel.StringType, names(auditv1.Outcome_name, "OUTCOME_")},
	Risk:            {"risk", cel.StringType, names(auditv1.Risk_name, "RISK_")},
	Service:         {"service", cel.StringType, names(accessv1.Service_name, "SERVICE_")},
	Caller:          {"caller", cel.StringType, names(accessv1.Service_name, "SERVICE_")},
	Purpose:         {"purpose", cel.StringType, names(accessv1.Purpose_name, "PURPOSE_")},
	Reason:          {"reason", cel.StringType, nil},
	Method:          {"method", cel.StringType, nil},
	PracticeID:      {"practice_id", cel.StringType, nil},
	UserID:          {"user_id", cel.StringType, nil},
	Username:        {"username", cel.StringType, nil},
	PatientID:       {"patient_id", cel.StringType, nil},
	SessionID:       {"session_id", cel.StringType, nil},
	DeviceID:        {"device_id", cel.StringType, nil},
	Resource:        {"resource", cel.StringType, nil},
	Address:         {"address", cel.StringType, nil},
	Network:         {"network", cel.StringType, nil},
	WideNetwork:     {"wide_network", cel.StringType, nil},
	Code:            {"code", cel.IntType, nil},
	Count:           {"count", cel.IntType, nil},
	ResourceVersion: {"resource_version", cel.IntType, nil},
	Hour:            {"hour", cel.IntType, nil},
	Weekday:         {"weekday", cel.IntType, nil},
	EventTime:       {"event_time", cel.TimestampType, nil},
	WithheldFields:  {"withheld_fields", cel.ListType(cel.StringType), nil},
}

// byName finds a field.
var byName = func() map[string]Field {
	all := make(map[string]Field, NumFields)
	for f, info := range fields {
		all[info.name] = Field(f)
	}
	return all
}()

// Name is what conditions call the field.
func (f Field) Name() string { return fields[f].name }

func (f Field) text() bool { return fields[f].kind == cel.StringType }

func names(of map[int32]string, prefix string) map[string]bool {
	all := make(map[string]bool, len(of))
	for _, name := range of {
		all[strings.TrimPrefix(name, prefix)] = true
	}
	return all
}

// listed are names in alphabetical order, for those who mistyped one.
func listed[V any](of map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}

func textFields() string {
	var all []string
	for f, info := range fields {
		if Field(f).text() {
			all = append(all, info.name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
