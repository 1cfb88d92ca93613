package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/fhir/definitions"
)

// typeSet are the types by name.
type typeSet map[string]*definitions.Type

func (s typeSet) sorted() []*definitions.Type {
	out := make([]*definitions.Type, 0, len(s))
	for _, t := range s {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *definitions.Type) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// types reads every type that can stand in a document. The profiles tell which
// elements there are, of what types and how many; the schema tells their codes. Both
// must name the same elements.
func (s *source) types() (typeSet, error) {
	out := typeSet{}
	for _, name := range s.order {
		d := s.structures[name]
		if d.Kind == "primitive-type" || d.Kind == "logical" || d.Abstract && name != "Element" { // an Element stands beside primitives
			continue
		}
		r := reader{source: s, structure: d, out: out}
		if err := r.typ(name, name); err != nil {
			return nil, err
		}
		out[name].Resource = d.Kind == "resource"
	}
	return out, nil
}

// notR4 are properties that Medplum added to the schema. HL7's own fault is to give
// modifier extensions to elements of data types, which have none.
var notR4 = map[string]bool{
	"Meta.project": true, "Meta.author": true, "Reference.resource": true, "OperationOutcome.resource": true,
	"OperationOutcome.status": true,
}

// reader reads the types of one profile: its own and those of its backbone elements.
type reader struct {
	*source
	structure structure
	out       typeSet
}

// typ reads the type at a path of the profile, which the schema calls schemaName.
func (r *reader) typ(path, schemaName string) error {
	in, ok := r.schema[schemaName]
	if !ok {
		return fmt.Errorf("the schema has no %s", schemaName)
	}
	t := &definitions.Type{Name: path}
	r.out[path] = t
	named := map[string]bool{}
	for _, e := range r.children(path) {
		for _, el := range r.elements(e) {
			p, ok := in.Properties[el.Name]
			if !ok {
				return fmt.Errorf("the schema lacks %s.%s", path, el.Name)
			}
			el.Enum = p.item().Enum
			if el.List != (p.Items != nil) {
				return fmt.Errorf("schema and profile differ in %s.%s", path, el.Name)
			}
			t.Elements = append(t.Elements, el)
			named[el.Name] = true
			if definitions.Primitive(el.Type) && el.Name != "id" {
				named["_"+el.Name] = true
			}
			if el.Type == e.Path {
				if err := r.typ(e.Path, strings.TrimPrefix(p.item().Ref, "#/definitions/")); err != nil {
					return err
				}
			}
		}
	}
	for name := range in.Properties {
		switch {
		case named[name] || name == "resourceType":
		case notR4[path+"."+name] || name == "modifierExtension":
			delete(in.Properties, name)
		default:
			return fmt.Errorf("the profile lacks %s.%s", path, name)
		}
	}
	return nil
}

// children are the profile's elements one step below a path.
func (r *reader) children(path string) []structureElement {
	var out []structureElement
	for _, e := range r.structure.Snapshot.Element {
		rest, ok := strings.CutPrefix(e.Path, path+".")
		if ok && !strings.Contains(rest, ".") && e.Max != "0" {
			out = append(out, e)
		}
	}
	return out
}

// elements are the elements that JSON has for one of the profile: one for each
// type of a choice.
func (r *reader) elements(e structureElement) []definitions.Element {
	name := e.Path[strings.LastIndexByte(e.Path, '.')+1:]
	el := definitions.Element{Name: name, Min: e.Min, List: e.Max == "*"}
	if stem, ok := strings.CutSuffix(name, "[x]"); ok {
		var out []definitions.Element
		for _, t := range e.Type {
			el.Name, el.Type, el.Choice = stem+strings.ToUpper(t.Code[:1])+t.Code[1:], t.Code, stem
			out = append(out, el)
		}
		return out
	}
	switch {
	case e.Content != "":
		el.Type = strings.TrimPrefix(e.Content, "#")
	case len(r.children(e.Path)) > 0:
		el.Type = e.Path
	case name == "id" && r.structure.Kind == "resource" && strings.Count(e.Path, ".") == 1:
		el.Type = "id"
	case strings.HasPrefix(e.Type[0].Code, "http://hl7.org/fhirpath/"):
		el.Type = "string"
	default:
		el.Type = e.Type[0].Code
	}
	return []definitions.Element{el}
}
