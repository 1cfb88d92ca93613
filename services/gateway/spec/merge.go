package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// object is a JSON object; encoding/json writes its keys in order, which makes the document reproducible.
type object = map[string]any

// What no proto file says: title, session scheme, shared headers and answers, and the import route.
//
//go:embed base.json
var base []byte

// merge adds the generated documents to base.json. The same path, tag or schema
// may come twice only if it says the same.
func merge(parts []string) (object, error) {
	doc := object{}
	if err := json.Unmarshal(base, &doc); err != nil {
		return nil, fmt.Errorf("base.json: %w", err)
	}
	paths := doc["paths"].(object)
	components := doc["components"].(object)
	for _, text := range parts {
		var part struct {
			Paths      object
			Components struct{ Schemas object }
			Tags       []any
		}
		if err := json.Unmarshal([]byte(text), &part); err != nil {
			return nil, fmt.Errorf("generated document: %w", err)
		}
		if isFHIR(part.Paths) {
			continue
		}
		for path, item := range part.Paths {
			if err := addPath(paths, path, item.(object)); err != nil {
				return nil, err
			}
		}
		for name, schema := range part.Components.Schemas {
			schemas := components["schemas"].(object)
			if old, ok := schemas[name]; ok && !reflect.DeepEqual(old, schema) {
				return nil, fmt.Errorf("schema %s is defined twice and differently", name)
			}
			schemas[name] = schema
		}
		doc["tags"] = append(doc["tags"].([]any), part.Tags...)
	}
	return doc, nil
}

func encode(doc object) (string, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return "", fmt.Errorf("write the document: %w", err)
	}
	return out.String(), nil
}

// isFHIR tells the document of the FHIR API, which describes itself by its CapabilityStatement.
func isFHIR(paths object) bool {
	for path := range paths {
		if strings.HasPrefix(path, "/fhir/") {
			return true
		}
	}
	return false
}
