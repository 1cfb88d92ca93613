package fhir

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

var genders = map[string]recordsv1.Gender{
	"male":    recordsv1.Gender_GENDER_MALE,
	"female":  recordsv1.Gender_GENDER_FEMALE,
	"other":   recordsv1.Gender_GENDER_OTHER,
	"unknown": recordsv1.Gender_GENDER_UNKNOWN,
}

// PatientView reads a Patient document. Name, times and etag are the store's to add.
func PatientView(doc []byte) *recordsv1.Patient {
	p := &recordsv1.Patient{}
	gjson.ParseBytes(doc).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "name":
			_, name := chosenName(value)
			p.FamilyName = name.Get("family").String()
			p.GivenNames = texts(name.Get("given"))
		case "birthDate":
			p.BirthDate = value.String()
		case "gender":
			p.Gender = genders[value.Str]
		case "telecom":
			p.Telecoms = telecoms.list(value)
		case "address":
			p.Addresses = addresses.list(value)
		case "identifier":
			p.NationalIdentifiers, p.Identifiers = allIdentifiers(value)
		case "deceasedBoolean":
			p.Deceased = value.Bool()
		case "deceasedDateTime":
			p.Deceased = true
		}
		return true
	})
	return p
}

// NewPatient writes a Patient document for a view.
func NewPatient(id uuid.UUID, p *recordsv1.Patient) ([]byte, error) {
	fields, err := Fields(p, nil)
	if err != nil {
		return nil, err
	}
	return PatchPatient(fmt.Appendf(nil, `{"resourceType":"Patient","id":"%s"}`, id), p, fields)
}

// PatchPatient changes the named fields of a Patient document.
func PatchPatient(doc []byte, p *recordsv1.Patient, fields []string) ([]byte, error) {
	if err := checkPatient(p); err != nil {
		return nil, err
	}
	e := &edit{doc: slices.Clone(doc)}
	for _, field := range fields {
		patchPatient(e, p, field)
	}
	return e.doc, e.err
}

func checkPatient(p *recordsv1.Patient) error {
	if p.BirthDate != "" && !validDate(p.BirthDate) {
		return invalid("birth_date", "is no day of the calendar")
	}
	if slices.Contains(p.GivenNames, "") {
		return invalid("given_names", "holds an empty name; leave it out")
	}
	for _, id := range p.NationalIdentifiers {
		if !national(id.Type, id.System) {
			return invalid("national_identifiers", "holds an identifier that is none of a state: set type to SS, DL, PPN or NI, or move it to identifiers")
		}
	}
	for _, id := range p.Identifiers {
		if national(id.Type, id.System) {
			return invalid("identifiers", "holds an identifier that a state gives: move it to national_identifiers")
		}
	}
	return nil
}

func patchPatient(e *edit, p *recordsv1.Patient, field string) {
	switch field {
	case "family_name", "given_names":
		at, _ := chosenName(e.get("name"))
		path := fmt.Sprintf("name.%d.", at)
		switch {
		case field == "family_name":
			e.setOrRemove(path+"family", p.FamilyName)
		case len(p.GivenNames) == 0:
			e.remove(path + "given")
		default:
			e.set(path+"given", p.GivenNames)
		}
	case "birth_date":
		e.setOrRemove("birthDate", p.BirthDate)
	case "gender":
		e.setOrRemove("gender", genderCode(p.Gender))
	case "telecoms":
		telecoms.replace(e, "telecom", p.Telecoms)
	case "addresses":
		addresses.replace(e, "address", p.Addresses)
	case "national_identifiers":
		nationalIdentifiers.replace(e, "identifier", p.NationalIdentifiers)
	case "identifiers":
		otherIdentifiers.replace(e, "identifier", p.Identifiers)
	case "deceased":
		patchDeceased(e, p.Deceased)
	}
}

// patchDeceased keeps a time of death that is known.
func patchDeceased(e *edit, deceased bool) {
	switch {
	case !deceased:
		e.remove("deceasedDateTime")
		e.remove("deceasedBoolean")
	case !e.get("deceasedDateTime").Exists():
		e.set("deceasedBoolean", true)
	}
}

func genderCode(g recordsv1.Gender) string {
	for code, known := range genders {
		if known == g {
			return code
		}
	}
	return ""
}

// chosenName is the official name, else the first one.
func chosenName(names gjson.Result) (at int, name gjson.Result) {
	if !names.IsArray() {
		return 0, gjson.Result{}
	}
	i := 0
	names.ForEach(func(_, n gjson.Result) bool {
		if i == 0 {
			name = n
		}
		if n.Get("use").Str == "official" {
			at, name = i, n
			return false
		}
		i++
		return true
	})
	return at, name
}

func texts(found gjson.Result) []string {
	var out []string
	if found.IsArray() {
		found.ForEach(func(_, v gjson.Result) bool {
			if v.Type == gjson.String {
				out = append(out, v.Str)
			}
			return true
		})
	}
	return out
}
