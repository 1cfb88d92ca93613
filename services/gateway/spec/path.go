package main

import (
	"fmt"
	"regexp"
	"strings"
)

// addPath puts the operations of a path under its readable form. OpenAPI calls
// templates that differ only in names identical, and the generator makes such
// ones: GET /v1/patients/{name} and PATCH /v1/patients/{patient.name}.
func addPath(paths object, path string, item object) error {
	path, renamed := readable(path)
	target, ok := paths[path].(object)
	if !ok {
		target = object{}
		paths[path] = target
	}
	for method, operation := range item {
		if _, twice := target[method]; twice {
			return fmt.Errorf("%s %s is defined twice", method, path)
		}
		renameParameters(operation.(object), renamed)
		target[method] = operation
	}
	return nil
}

var (
	variable = regexp.MustCompile(`\{([^}]+)\}`)
	counter  = regexp.MustCompile(`_[0-9]+$`)
)

// readable names each variable of a resource name after its collection:
// /v1/patients/{name}/notes/{name_1} becomes /v1/patients/{patient}/notes/{note}.
func readable(path string) (string, map[string]string) {
	renamed := map[string]string{}
	segments := strings.Split(path, "/")
	for i := 1; i < len(segments); i++ {
		segments[i] = variable.ReplaceAllStringFunc(segments[i], func(found string) string {
			name := strings.Trim(found, "{}")
			field := counter.ReplaceAllString(name, "")
			field = field[strings.LastIndex(field, ".")+1:]
			if field != "name" && field != "parent" {
				return found
			}
			renamed[name] = strings.TrimSuffix(segments[i-1], "s")
			return "{" + renamed[name] + "}"
		})
	}
	return strings.Join(segments, "/"), renamed
}

func renameParameters(operation object, renamed map[string]string) {
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		parameter := p.(object)
		name, ok := renamed[parameter["name"].(string)]
		if !ok || parameter["in"] != "path" {
			continue
		}
		parameter["name"] = name
		parameter["description"] = "The UUID at this place of the resource name."
		parameter["schema"] = object{"type": "string", "format": "uuid"}
	}
}
