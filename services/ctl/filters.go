package main

import (
	"fmt"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// filters narrow the log; all that are given have to match.
type filters struct {
	Patient string `placeholder:"ID" help:"Only entries about this patient."`
	User    string `placeholder:"ID" help:"Only entries of this user."`
	Sess    string `name:"by-session" placeholder:"ID" help:"Only entries of this session, by the id that entries name."`
	Device  string `placeholder:"ID" help:"Only entries of this device."`
	Address string `placeholder:"ADDRESS" help:"Only entries from this address or network, as 192.0.2.0/24."`
	Action  string `placeholder:"NAME" help:"Only this action, as READ."`
	Outcome string `placeholder:"NAME" help:"Only this outcome: OK, DENIED or FAILED."`
	Risk    string `placeholder:"LEVEL" help:"Only this risk or a higher one: LOW, MEDIUM, HIGH or CRITICAL."`
	Service string `placeholder:"NAME" help:"Only entries that this service recorded, as RECORDS."`
	Method  string `placeholder:"RPC" help:"Only this RPC, as /carekeep.records.v1.RecordsService/GetPatient."`
}

// narrowed are filters as the API takes them.
type narrowed struct {
	Patient, User, Session, Device, Address, Method string

	action  accessv1.Action
	outcome auditv1.Outcome
	risk    auditv1.Risk
	service accessv1.Service
}

func (n narrowed) request() *auditv1.ListEntriesRequest {
	return &auditv1.ListEntriesRequest{
		PatientId: n.Patient, UserId: n.User, SessionId: n.Session, DeviceId: n.Device, Network: n.Address,
		Action: n.action, Outcome: n.outcome, MinRisk: n.risk, Service: n.service, Method: n.Method,
	}
}

func (f filters) read() (narrowed, error) {
	n := narrowed{Address: f.Address, Method: f.Method}
	for _, id := range []struct {
		flag, collection, text string
		into                   *string
	}{
		{"--patient", "patients", f.Patient, &n.Patient}, {"--user", "users", f.User, &n.User},
		{"--by-session", "sessions", f.Sess, &n.Session}, {"--device", "devices", f.Device, &n.Device},
	} {
		if id.text == "" {
			continue
		}
		var err error
		if *id.into, err = idOf(id.collection, id.text); err != nil {
			return n, fmt.Errorf("%s: %w", id.flag, err)
		}
	}
	for _, enum := range []struct {
		flag, prefix, text string
		values             map[string]int32
		names              map[int32]string
		into               func(int32)
	}{
		{"--action", "ACTION_", f.Action, accessv1.Action_value, accessv1.Action_name, func(v int32) { n.action = accessv1.Action(v) }},
		{"--outcome", "OUTCOME_", f.Outcome, auditv1.Outcome_value, auditv1.Outcome_name, func(v int32) { n.outcome = auditv1.Outcome(v) }},
		{"--risk", "RISK_", f.Risk, auditv1.Risk_value, auditv1.Risk_name, func(v int32) { n.risk = auditv1.Risk(v) }},
		{"--service", "SERVICE_", f.Service, accessv1.Service_value, accessv1.Service_name, func(v int32) { n.service = accessv1.Service(v) }},
	} {
		value, err := enumOf(enum.values, enum.names, enum.prefix, enum.text)
		if err != nil {
			return n, fmt.Errorf("%s: %w", enum.flag, err)
		}
		enum.into(value)
	}
	return n, nil
}
