package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/vault/sdk/logical"
)

// policy is what one identity may do: the rules of its HCL file. What no rule
// allows is denied.
type policy []rule

type rule struct {
	path         string
	Capabilities []string         `hcl:"capabilities"`
	Allowed      map[string][]any `hcl:"allowed_parameters"`
}

// capability is what an operation needs, in Vault's words.
var capability = map[logical.Operation]string{
	logical.CreateOperation: "create",
	logical.ReadOperation:   "read",
	logical.UpdateOperation: "update",
	logical.DeleteOperation: "delete",
	logical.ListOperation:   "list",
}

// own is Vault's "default" policy as far as this server has its paths.
var own = policy{
	{path: "auth/token/lookup-self", Capabilities: []string{"read"}},
	{path: "auth/token/renew-self", Capabilities: []string{"update"}},
	{path: "auth/token/revoke-self", Capabilities: []string{"update"}},
}

// loadPolicies reads {identity}.hcl files. An identity without one cannot log in.
func loadPolicies(dir string) (map[string]policy, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.hcl"))
	if err != nil {
		return nil, err
	}
	policies := map[string]policy{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p, err := parsePolicy(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		policies[strings.TrimSuffix(filepath.Base(file), ".hcl")] = append(p, own...)
	}
	return policies, nil
}

// parsePolicy reads Vault's policy language, strictly: what this server does not
// enforce it does not accept either.
func parsePolicy(text string) (policy, error) {
	root, err := hcl.Parse(text)
	if err != nil {
		return nil, err
	}
	list, ok := root.Node.(*ast.ObjectList)
	if !ok {
		return nil, fmt.Errorf("no path blocks")
	}
	var p policy
	for _, item := range list.Items {
		r, err := parseRule(item)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", item.Pos().Line, err)
		}
		p = append(p, r)
	}
	return p, nil
}

func parseRule(item *ast.ObjectItem) (rule, error) {
	if len(item.Keys) != 2 || item.Keys[0].Token.Value() != "path" {
		return rule{}, fmt.Errorf(`only path "…" { } blocks are known`)
	}
	path, _ := item.Keys[1].Token.Value().(string)
	r := rule{path: path}
	if body, ok := item.Val.(*ast.ObjectType); ok {
		for _, field := range body.List.Items {
			if name := field.Keys[0].Token.Value(); name != "capabilities" && name != "allowed_parameters" {
				return rule{}, fmt.Errorf("path %q: %v is not supported", path, name)
			}
		}
	}
	if err := hcl.DecodeObject(&r, item.Val); err != nil {
		return rule{}, fmt.Errorf("path %q: %w", path, err)
	}
	if star := strings.Index(path, "*"); path == "" || star >= 0 && star != len(path)-1 {
		return rule{}, fmt.Errorf("path %q: * stands at the end only", path)
	}
	for _, c := range r.Capabilities {
		if !slices.Contains([]string{"create", "read", "update", "delete", "list", "deny"}, c) {
			return rule{}, fmt.Errorf("path %q: unknown capability %q", path, c)
		}
	}
	return r, nil
}

// allows says whether the best matching rule lets the operation through.
func (p policy) allows(path string, op logical.Operation, data map[string]any) bool {
	var best *rule
	for i := range p {
		if r := &p[i]; r.matches(path) && (best == nil || r.above(best)) {
			best = r
		}
	}
	need, known := capability[op]
	if best == nil || !known || slices.Contains(best.Capabilities, "deny") || !slices.Contains(best.Capabilities, need) {
		return false
	}
	return op == logical.ReadOperation || op == logical.ListOperation || op == logical.DeleteOperation || best.accepts(data)
}

func (r *rule) matches(path string) bool {
	pattern, open := strings.CutSuffix(r.path, "*")
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(have) < len(want) || len(have) > len(want) && !open {
		return false
	}
	for i, w := range want {
		begun := open && i == len(want)-1 && strings.HasPrefix(have[i], w)
		if w != "+" && w != have[i] && !begun {
			return false
		}
	}
	return true
}

// above orders matching rules by Vault's published priority rules.
func (r *rule) above(o *rule) bool {
	wild := func(p string) int {
		if i := strings.IndexAny(p, "+*"); i >= 0 {
			return i
		}
		return len(p) + 1 // exact
	}
	plus := func(p string) int { return strings.Count("/"+p+"/", "/+/") }
	switch a, b := r.path, o.path; {
	case wild(a) != wild(b):
		return wild(a) > wild(b)
	case strings.HasSuffix(a, "*") != strings.HasSuffix(b, "*"):
		return strings.HasSuffix(b, "*")
	case plus(a) != plus(b):
		return plus(a) < plus(b)
	case len(a) != len(b):
		return len(a) > len(b)
	default:
		return a > b
	}
}

// accepts checks parameters: with allowed_parameters, only those, and where
// values are listed, only these values.
func (r *rule) accepts(data map[string]any) bool {
	if r.Allowed == nil {
		return true
	}
	for name, value := range data {
		values, ok := r.Allowed[strings.ToLower(name)]
		if !ok {
			return false
		}
		if len(values) > 0 && !slices.ContainsFunc(values, func(v any) bool { return reflect.DeepEqual(v, value) }) {
			return false
		}
	}
	return true
}
