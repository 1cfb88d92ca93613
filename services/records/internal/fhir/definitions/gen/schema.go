package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// reducedSchema is the schema without its descriptions and without what the profiles
// do not have, such as Medplum's own types: what tests compare the checks with.
func (s *source) reducedSchema(types typeSet) (map[string]any, error) {
	var schema map[string]any
	if err := json.Unmarshal(s.rawSchema, &schema); err != nil {
		return nil, err
	}
	all := schema["definitions"].(map[string]any)
	kept := map[string]any{}
	var keep func(name string)
	keep = func(name string) {
		if kept[name] != nil || all[name] == nil || name == resourceList {
			return
		}
		kept[name] = withoutDescriptions(all[name])
		properties, _ := kept[name].(map[string]any)["properties"].(map[string]any)
		maps.DeleteFunc(properties, func(property string, _ any) bool {
			_, known := s.schema[name].Properties[property]
			return !known
		})
		for _, ref := range references(kept[name]) {
			keep(ref)
		}
	}
	var resources []any
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if t := types[name]; t.Resource {
			keep(name)
			resources = append(resources, map[string]any{"$ref": "#/definitions/" + name})
		}
	}
	kept[resourceList] = map[string]any{"oneOf": resources}
	return map[string]any{"$schema": schema["$schema"], "definitions": kept}, nil
}

const resourceList = "ResourceList"

func withoutDescriptions(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			if _, text := value.(string); key != "description" || !text {
				out[key] = withoutDescriptions(value)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = withoutDescriptions(v[i])
		}
	}
	return v
}

// references are the definitions that a part of the schema refers to.
func references(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "$ref" {
				out = append(out, strings.TrimPrefix(ref, "#/definitions/"))
				continue
			}
			out = append(out, references(value)...)
		}
	case []any:
		for _, value := range v {
			out = append(out, references(value)...)
		}
	}
	return out
}
