package search

import "github.com/carekeep/carekeep/services/records/internal/fhir"

// Identifier, Phone and Name are the searches of SearchPatients: they run on the
// same index as FHIR's, and have no further pages.
func Identifier(system, value string, count int) *Query {
	return patients("identifier", count, pair{system: system, value: value})
}

// Phone finds patients by a phone number.
func Phone(number string, count int) *Query { return patients("phone", count, pair{value: number}) }

// Name finds patients by a family and a given name with the birth date.
func Name(family, given, birthDate string, count int) *Query {
	q := patients("family", count, pair{value: family})
	q.values["given"] = [][]pair{{{value: given}}}
	q.values["birthdate"] = [][]pair{{{value: birthDate}}}
	return q
}

func patients(name string, count int, p pair) *Query {
	return &Query{Type: fhir.TypePatient, Count: count, values: map[string][][]pair{name: {{p}}}}
}
