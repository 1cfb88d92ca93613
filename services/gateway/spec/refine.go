package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	httpBody       = "google.api.HttpBody"
	signInResponse = "carekeep.auth.v1.SignInResponse"
)

// refine corrects and completes the merged document in place.
func refine(doc object, api *api) error {
	for path, item := range doc["paths"].(object) {
		for method, o := range item.(object) {
			op := o.(object)
			id, _ := op["operationId"].(string)
			rule, ok := api.operations[id]
			if !ok {
				return fmt.Errorf("%s %s: no RPC is called %q", method, path, id)
			}
			describeAccess(op, rule)
			describeAnswer(op, rule)
			hideServerSet(op, api.fields[string(rule.method.Input().FullName())])
		}
	}
	schemas := doc["components"].(object)["schemas"].(object)
	delete(schemas, httpBody)
	for name, schema := range schemas {
		markFields(schema.(object), api.fields[name])
	}
	return nil
}

func describeAccess(op object, rule operation) {
	parameters, _ := op["parameters"].([]any)
	if opensSession(rule.method.Output()) {
		parameters = append(parameters, object{"$ref": "#/components/parameters/Transport"})
	}
	op["parameters"] = append(parameters, object{"$ref": "#/components/parameters/Device"})
	if rule.anonymous {
		op["security"] = []any{}
		return
	}
	text, _ := op["description"].(string)
	op["description"] = strings.TrimSpace(text + "\n\nNeeds " + rule.permission + " and a session of " + rule.assurance + ".")
	op["x-carekeep-permission"] = rule.permission
	op["x-carekeep-assurance"] = rule.assurance
	op["x-carekeep-phi"] = rule.phi
	purpose := "Purpose"
	if rule.phi {
		purpose = "PurposeRequired"
	}
	op["parameters"] = append(op["parameters"].([]any),
		object{"$ref": "#/components/parameters/" + purpose},
		object{"$ref": "#/components/parameters/Background"})
}

// opensSession says whether an answer is, or holds, what the gateway can turn into a cookie.
func opensSession(answer protoreflect.MessageDescriptor) bool {
	if answer.FullName() == signInResponse {
		return true
	}
	for i := range answer.Fields().Len() {
		if f := answer.Fields().Get(i); f.Message() != nil && f.Message().FullName() == signInResponse {
			return true
		}
	}
	return false
}

// tailOutput is what services/gateway/rest writes as server-sent events.
const tailOutput = "carekeep.audit.v1.TailEntriesResponse"

// describeAnswer says what really comes back: raw bytes for HttpBody, one object a line for streams.
func describeAnswer(op object, rule operation) {
	responses := op["responses"].(object)
	responses["default"] = object{"$ref": "#/components/responses/Error"}
	responses["429"] = object{"$ref": "#/components/responses/Limited"}
	if !rule.anonymous {
		responses["401"] = object{"$ref": "#/components/responses/NoSession"}
	}
	output := string(rule.method.Output().FullName())
	switch {
	case responses["200"] != nil && responses["200"].(object)["x-carekeep-written"] == true:
		delete(responses["200"].(object), "x-carekeep-written") // base.json says it
	case output == httpBody && rule.method.IsStreamingServer():
		responses["200"] = object{
			"description": "A zip. One that was cut short ends with the connection.",
			"content":     object{"application/zip": object{"schema": object{"type": "string", "format": "binary"}}},
		}
	case output == httpBody:
		responses["200"] = object{
			"description": "The stored FHIR R4 resource, byte for byte.",
			"content":     object{"application/fhir+json": object{"schema": object{"type": "object"}}},
		}
	case output == tailOutput:
		responses["200"] = object{
			"description": "Server-sent events: `entry` with an Entry as data and its place as id, `end` with an error as data where the stream or the session ended, " +
				"and heartbeats. Last-Event-ID, which counts for more than fromSeq, goes on where the stream ended.",
			"content": object{"text/event-stream": object{"schema": object{"type": "string"}}},
		}
	case rule.method.IsStreamingServer() && !rule.method.IsStreamingClient():
		responses["200"] = object{
			"description": "One JSON object a line. A line with `error` is the last.",
			"content": object{"application/x-ndjson": object{"schema": object{
				"type": "object",
				"properties": object{
					"result": object{"$ref": "#/components/schemas/" + output},
					"error":  object{"$ref": "#/components/schemas/google.rpc.Status"},
				},
			}}},
		}
	}
}

// hideServerSet takes what the gateway fills in itself out of a request: the
// document must not invite clients to send it.
func hideServerSet(op object, rules map[string]fieldRule) {
	body, ok := op["requestBody"].(object)
	if !ok {
		return
	}
	text, ok := body["content"].(object)["application/json"].(object)
	if !ok {
		return // bytes
	}
	properties, _ := text["schema"].(object)["properties"].(object)
	for name, rule := range rules {
		if rule.serverSet {
			delete(properties, name)
		}
	}
}

func markFields(schema object, rules map[string]fieldRule) {
	properties, _ := schema["properties"].(object)
	for name, rule := range rules {
		property, ok := properties[name].(object)
		if !ok {
			continue
		}
		if rule.phi {
			property["x-carekeep-phi"] = true
		}
		if rule.secret {
			property["x-carekeep-secret"] = true
		}
		if rule.permission != "" {
			property["x-carekeep-permission"] = rule.permission
			text, _ := property["description"].(string)
			property["description"] = strings.TrimSpace(text + " Left out for callers without " + rule.permission + ".")
		}
	}
}
