package fhir

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

var telecomSystems = set("phone fax email pager url sms other")

var telecoms = element[*recordsv1.Telecom]{
	view: func(r gjson.Result) (*recordsv1.Telecom, bool) {
		t := &recordsv1.Telecom{}
		r.ForEach(func(key, value gjson.Result) bool {
			switch key.Str {
			case "system":
				t.System = value.Str
			case "value":
				t.Value = value.String()
			case "use":
				t.Use = value.Str
			}
			return true
		})
		if !telecomSystems[t.System] {
			t.System = "other"
		}
		return t, t.Value != ""
	},
	same: func(a, b *recordsv1.Telecom) bool {
		return a.System == b.System && a.Value == b.Value && a.Use == b.Use
	},
	make: func(t *recordsv1.Telecom) ([]byte, error) {
		e := &edit{doc: []byte("{}")}
		e.set("system", t.System)
		e.set("value", t.Value)
		e.setOrRemove("use", t.Use)
		return e.doc, e.err
	},
}

var addresses = element[*recordsv1.Address]{
	view: func(r gjson.Result) (*recordsv1.Address, bool) {
		a := &recordsv1.Address{}
		r.ForEach(func(key, value gjson.Result) bool {
			switch key.Str {
			case "line":
				a.Lines = texts(value)
			case "city":
				a.City = value.String()
			case "state":
				a.State = value.String()
			case "postalCode":
				a.PostalCode = value.String()
			case "country":
				a.Country = value.String()
			}
			return true
		})
		return a, r.IsObject()
	},
	same: func(a, b *recordsv1.Address) bool {
		return slices.Equal(a.Lines, b.Lines) && a.City == b.City && a.State == b.State &&
			a.PostalCode == b.PostalCode && a.Country == b.Country
	},
	make: func(a *recordsv1.Address) ([]byte, error) {
		e := &edit{doc: []byte("{}")}
		if len(a.Lines) > 0 {
			e.set("line", a.Lines)
		}
		e.setOrRemove("city", a.City)
		e.setOrRemove("state", a.State)
		e.setOrRemove("postalCode", a.PostalCode)
		e.setOrRemove("country", a.Country)
		return e.doc, e.err
	},
}

// identifierTypes is the code system of identifier types, HL7 table 0203.
const identifierTypes = "http://terminology.hl7.org/CodeSystem/v2-0203"

var (
	nationalIdentifiers = identifiers(true)
	otherIdentifiers    = identifiers(false)
)

// identifiers is the view of the identifiers that are, or are not, a state's.
func identifiers(ofState bool) element[*recordsv1.Identifier] {
	return element[*recordsv1.Identifier]{
		view: func(r gjson.Result) (*recordsv1.Identifier, bool) {
			id, isNational := identifier(r)
			return id, id.Value != "" && isNational == ofState
		},
		same: func(a, b *recordsv1.Identifier) bool {
			return a.System == b.System && a.Value == b.Value && a.Type == b.Type
		},
		make: func(id *recordsv1.Identifier) ([]byte, error) {
			e := &edit{doc: []byte("{}")}
			if id.Type != "" {
				e.set("type.coding.0.system", identifierTypes)
				e.set("type.coding.0.code", id.Type)
			}
			e.set("system", id.System)
			e.set("value", id.Value)
			return e.doc, e.err
		},
	}
}

// identifier reads an identifier, and whether it is a state's by its system or by
// any coding of its type.
func identifier(r gjson.Result) (id *recordsv1.Identifier, isNational bool) {
	id = &recordsv1.Identifier{}
	r.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "system":
			id.System = value.String()
			isNational = isNational || national("", id.System)
		case "value":
			id.Value = value.String()
		case "type":
			value.Get("coding").ForEach(func(_, c gjson.Result) bool {
				code := c.Get("code").String()
				if id.Type == "" {
					id.Type = code
				}
				isNational = isNational || national(code, "")
				return true
			})
		}
		return true
	})
	return id, isNational
}

// allIdentifiers reads the identifiers of both kinds at once.
func allIdentifiers(list gjson.Result) (ofState, others []*recordsv1.Identifier) {
	each(list, func(r gjson.Result) {
		switch id, isNational := identifier(r); {
		case id.Value == "":
		case isNational:
			ofState = append(ofState, id)
		default:
			others = append(others, id)
		}
	})
	return ofState, others
}

// nationalTypes are the codes of HL7 table 0203 for numbers that a state gives to a person: social security,
// driving licence, passport, national identifiers, tax, social benefits, citizenship and residence.
var nationalTypes = set("SS DL PPN NI NIIP TAX SB CZ PRC MC MA")

// nationalSystems are identifier systems of such numbers, by prefix.
var nationalSystems = []string{
	"http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1",
	"urn:oid:2.16.840.1.113883.4.3.", // driving licences of the States
	"urn:oid:2.16.840.1.113883.4.330", "http://hl7.org/fhir/sid/passport",
	"http://hl7.org/fhir/sid/us-mbi", "http://hl7.org/fhir/sid/us-medicare",
	"https://fhir.nhs.uk/Id/nhs-number", "https://fhir.nhs.uk/id/nhs-number",
}

// national decides by type or system whether an identifier is a state's. When in
// doubt it says yes: such an identifier takes one more permission to see.
func national(code, system string) bool {
	if nationalTypes[code] || len(code) == 5 && strings.HasPrefix(code, "NN") { // NNxxx: national, by country
		return true
	}
	if strings.Contains(strings.ToLower(system), "passport") {
		return true
	}
	for _, prefix := range nationalSystems {
		rest, ok := strings.CutPrefix(system, prefix)
		if ok && (rest == "" || strings.HasSuffix(prefix, ".") || rest[0] < '0' || rest[0] > '9') {
			return true
		}
	}
	return false
}

func each(list gjson.Result, visit func(gjson.Result)) {
	if list.IsArray() {
		list.ForEach(func(_, r gjson.Result) bool {
			visit(r)
			return true
		})
	}
}
