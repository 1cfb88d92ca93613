package fhirapi

import (
	"context"
	"encoding/json"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/search"
)

type object = map[string]any

func codes(list ...string) []object {
	out := make([]object, len(list))
	for i, c := range list {
		out[i] = object{"code": c}
	}
	return out
}

// Capabilities implements the RPC. It is made of the tables that the interactions
// themselves go by, and a test tries each one.
func (s *Service) Capabilities(context.Context, *recordsv1.FhirServiceCapabilitiesRequest) (*recordsv1.FhirAnswer, error) {
	var resources []object
	for _, t := range fhir.StoredTypes() {
		resources = append(resources, capability(t))
	}
	return described(object{
		"resourceType": "CapabilityStatement", "status": "active", "kind": "instance", "date": started,
		"fhirVersion": "4.0.1", "format": []string{"json"}, "patchFormat": []string{typePatch},
		"software":       object{"name": "carekeep"},
		"implementation": object{"description": "carekeep records: FHIR R4, sealed at rest", "url": s.Base},
		"rest": []object{{
			"mode": "server",
			"security": object{
				"cors":        false,
				"description": "A session of carekeep as bearer token (POST /v1/auth:signIn), with two factors; what a caller sees follows role and care team.",
			},
			"documentation": "Documents are stored and come back byte for byte; version and time are in ETag and Last-Modified, and meta is the author's. " +
				"Updates need If-Match (428 without) and create nothing (405). Search is by POST only, and parameters that are not listed are refused.",
			"interaction": codes("transaction", "batch"),
			"resource":    resources,
			"operation":   []object{{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"}},
		}},
	})
}

// started is the date of this description: it changes with the software only.
const started = "2026-11-26"

func capability(resourceType string) object {
	interactions := []string{"read", "vread", "update", "delete", "history-instance", "create", "patch"}
	out := object{
		"type": resourceType, "versioning": "versioned-update", "readHistory": true, "updateCreate": false,
		"conditionalCreate": false, "conditionalRead": "full-support", "conditionalUpdate": false, "conditionalDelete": "not-supported",
		"referencePolicy": []string{"literal", "local", "enforced"},
	}
	if parameters := search.Parameters(resourceType); len(parameters) > 0 {
		interactions = append(interactions, "search-type")
		out["conditionalCreate"] = true
		var list []object
		for _, p := range parameters {
			list = append(list, object{"name": p.Name, "type": p.Type, "documentation": p.Documentation})
		}
		out["searchParam"] = list
	}
	if resourceType == fhir.TypePatient {
		out["operation"] = []object{
			{"name": "everything", "definition": "http://hl7.org/fhir/OperationDefinition/Patient-everything"},
			{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"},
		}
	}
	out["interaction"] = codes(interactions...)
	return out
}

// SmartConfiguration implements the RPC. SMART App Launch 2.2 requires a token_endpoint, an
// authorization_endpoint for launches, and S256 among the challenge methods, and has issuer and jwks_uri for
// OpenID Connect alone. auth gives sessions and no OAuth tokens, so nothing of that is true here: the lists, of
// which it requires capabilities, grant_types_supported and code_challenge_methods_supported, are there and
// empty, which tells a client that asks that SMART is no way in, where a made-up endpoint would mislead it.
func (s *Service) SmartConfiguration(context.Context, *recordsv1.FhirServiceSmartConfigurationRequest) (*recordsv1.FhirAnswer, error) {
	return described(object{
		"capabilities": []string{}, "grant_types_supported": []string{}, "response_types_supported": []string{},
		"scopes_supported": []string{}, "code_challenge_methods_supported": []string{},
	})
}

func described(o object) (*recordsv1.FhirAnswer, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	return &recordsv1.FhirAnswer{Content: raw}, nil
}
