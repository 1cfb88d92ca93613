// Package auditevent writes entries of the log as FHIR R4 AuditEvent resources, after the
// Basic Audit Log Patterns of IHE (https://profiles.ihe.net/ITI/BALP): for patients who ask
// who opened their chart, and for systems that search in FHIR. It is pure.
package auditevent

import (
	"strings"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

const (
	balp       = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
	systemType = "http://terminology.hl7.org/CodeSystem/audit-event-type"
	systemRest = "http://hl7.org/fhir/restful-interaction"
	systemDCM  = "http://dicom.nema.org/resources/ontology/DCM"
	systemPart = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
	systemWhy  = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	systemKind = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	systemRole = "http://terminology.hl7.org/CodeSystem/object-role"
	systemSrc  = "http://terminology.hl7.org/CodeSystem/security-source-type"

	// Carekeep's own.
	systemAction   = "urn:carekeep:action"
	systemReason   = "urn:carekeep:reason"
	systemUser     = "urn:carekeep:user"
	systemPractice = "urn:carekeep:practice"
	systemResource = "urn:carekeep:resource"

	absent = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
)

type object = map[string]any

func coding(system, code string) object { return object{"system": system, "code": code} }

func concept(system, code string) object { return object{"coding": []object{coding(system, code)}} }

// pattern is what BALP says of an interaction: its profile, FHIR action, subtype, and the DICOM
// roles of the client and the server.
type pattern struct{ profile, action, subtype, client, server string }

const source, destination = "110153", "110152"

// patterns are those of actions that BALP knows; all else is an execution (E) under carekeep's own name.
var patterns = map[accessv1.Action]pattern{
	accessv1.Action_ACTION_READ:   {"PatientRead", "R", "read", destination, source},
	accessv1.Action_ACTION_LIST:   {"PatientQuery", "E", "search", source, destination},
	accessv1.Action_ACTION_SEARCH: {"PatientQuery", "E", "search", source, destination},
	accessv1.Action_ACTION_CREATE: {"PatientCreate", "C", "create", source, destination},
	accessv1.Action_ACTION_IMPORT: {"PatientCreate", "C", "create", source, destination},
	accessv1.Action_ACTION_UPDATE: {"PatientUpdate", "U", "update", source, destination},
	accessv1.Action_ACTION_DELETE: {"PatientDelete", "D", "delete", source, destination},
}

// Actions returns the actions that have a FHIR action: C, R, U, D or E. None for any other text.
func Actions(code string) []accessv1.Action {
	var out []accessv1.Action
	for number := range accessv1.Action_name {
		a := accessv1.Action(number)
		p, known := patterns[a]
		if number != 0 && (known && p.action == code || !known && code == "E") {
			out = append(out, a)
		}
	}
	return out
}

// Outcomes are FHIR's codes: success, minor failure (what was refused), serious failure.
var Outcomes = map[string]auditv1.Outcome{
	"0": auditv1.Outcome_OUTCOME_OK, "4": auditv1.Outcome_OUTCOME_DENIED, "8": auditv1.Outcome_OUTCOME_FAILED,
}

var outcomeCodes = map[auditv1.Outcome]string{
	auditv1.Outcome_OUTCOME_OK: "0", auditv1.Outcome_OUTCOME_DENIED: "4", auditv1.Outcome_OUTCOME_FAILED: "8",
}

var purposes = map[accessv1.Purpose]string{
	accessv1.Purpose_PURPOSE_TREATMENT: "TREAT", accessv1.Purpose_PURPOSE_PAYMENT: "HPAYMT",
	accessv1.Purpose_PURPOSE_OPERATIONS: "HOPERAT", accessv1.Purpose_PURPOSE_INDIVIDUAL: "PATRQT",
}

// Resource is an entry as an AuditEvent. The proof, where there is one, stands in an extension.
func Resource(e *auditv1.Entry, proof *Proof) object {
	v := e.GetEvent()
	p, known := patterns[v.GetAction()]
	if !known {
		p = pattern{action: "E", client: source, server: destination}
	}
	out := object{
		"resourceType": "AuditEvent", "id": v.GetEventId(), "type": coding(systemType, "rest"),
		"action": p.action, "recorded": v.GetEventTime().AsTime().Format(time.RFC3339Nano), "outcome": outcomeCodes[v.GetOutcome()],
		"agent": agents(v, p), "entity": entities(v, p), "source": object{
			"site":     v.GetPracticeId(),
			"observer": object{"display": name(v.GetService())},
			"type":     []object{coding(systemSrc, "4")}, // application server
		},
	}
	subtypes := []object{coding(systemAction, strings.TrimPrefix(v.GetAction().String(), "ACTION_"))}
	if known {
		subtypes = append([]object{coding(systemRest, p.subtype)}, subtypes...)
		if v.GetPatientId() != "" {
			out["meta"] = object{"profile": []string{balp + p.profile}}
		}
	}
	if v.GetAction() != accessv1.Action_ACTION_WATCH_CHANGE {
		out["subtype"] = subtypes
	}
	if v.GetReason() != "" && !secret(v) {
		out["outcomeDesc"] = v.GetReason()
	}
	if v.GetPracticeId() == "" {
		delete(out["source"].(object), "site")
	}
	if len(out["entity"].([]object)) == 0 {
		delete(out, "entity")
	}
	if proof != nil {
		shown := *proof
		if secret(v) { // it stands in the bytes too
			shown.Event, shown.Salt = nil, nil
		}
		out["extension"] = []object{shown.extension()}
	}
	return out
}

// watching are the reasons of package watch in records, and the rules of audit about them, that tell that a patient is
// watched, or is a decoy. A report may be handed to the patient; a decoy that is known is none.
var watching = map[string]bool{"VIP_ACCESS": true, "DECOY_TOUCHED": true, "HONEYPATIENT": true}

// secret reports whether the reason of an event must not be shown; that somebody marked the chart must not be, either.
func secret(v *auditv1.Event) bool {
	return watching[v.GetReason()] || v.GetAction() == accessv1.Action_ACTION_WATCH_CHANGE
}

func name(s accessv1.Service) string {
	return "carekeep " + strings.ToLower(strings.TrimPrefix(s.String(), "SERVICE_"))
}

// agents are the user, who asked, and the two services between which it was done.
func agents(v *auditv1.Event, p pattern) []object {
	user := object{"type": concept(systemPart, "IRCP"), "requestor": true, "who": who(v)}
	if v.GetAddress() != "" {
		user["network"] = object{"address": v.GetAddress(), "type": "2"} // an IP address
	}
	if code := purposes[v.GetPurpose()]; code != "" {
		user["purposeOfUse"] = []object{concept(systemWhy, code)}
	}
	client := v.GetCaller()
	if client == accessv1.Service_SERVICE_UNSPECIFIED {
		client = v.GetService() // a job
	}
	return []object{
		{"type": concept(systemDCM, p.client), "requestor": false, "who": object{"display": name(client)}},
		{"type": concept(systemDCM, p.server), "requestor": false, "who": object{"display": name(v.GetService())}},
		user,
	}
}

func who(v *auditv1.Event) object {
	out := object{"display": v.GetUsername()}
	if v.GetUsername() == "" {
		out["display"] = "nobody"
	}
	if v.GetUserId() != "" {
		out["identifier"] = object{"system": systemUser, "value": v.GetUserId()}
	}
	return out
}

// entities are the patient, what was touched of the chart, and the call.
func entities(v *auditv1.Event, p pattern) []object {
	out := []object{}
	if v.GetPatientId() != "" {
		out = append(out, object{
			"type": coding(systemKind, "1"), "role": coding(systemRole, "1"), "what": object{"reference": "Patient/" + v.GetPatientId()},
		})
	}
	switch {
	case p.subtype == "search":
		// What was searched for is not in the log: it may say more about a patient than the answer.
		out = append(out, object{
			"type": coding(systemKind, "2"), "role": coding(systemRole, "24"),
			"_query": object{"extension": []object{{"url": absent, "valueCode": "masked"}}},
		})
	case v.GetResource() != "" && v.GetAction() != accessv1.Action_ACTION_WATCH_CHANGE:
		out = append(out, object{
			"type": coding(systemKind, "2"), "role": coding(systemRole, "4"),
			"what": object{"identifier": object{"system": systemResource, "value": v.GetResource()}},
		})
	case v.GetPatientId() != "":
		out = append(out, object{
			"type": coding(systemKind, "2"), "role": coding(systemRole, "4"), "what": object{"reference": "Patient/" + v.GetPatientId()},
		})
	}
	return out
}
