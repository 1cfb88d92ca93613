// Package index is the blind index: which values of a FHIR resource can be found
// by, how they are normalised, and the tokens that stand for them in the database. It
// stores nothing, and reads no query (internal/search does).
package index

import (
	"fmt"

	"github.com/tidwall/gjson"
)

// Part is one value of a compound index.
type Part struct {
	Name string
	// Bits is about how many bits the most frequent value tells (min-entropy), in a
	// population of a practice's size.
	Bits int
	// normal is the one spelling of a value; empty where nothing is left to index.
	normal func(Format, string) string
}

// The parts. Who can count tokens in the tables sees how often each occurs, so
// a part of few bits never stands alone.
var (
	system     = Part{"system", 0, exact}
	identifier = Part{"identifier", 30, func(_ Format, s string) string { return Identifier(s) }}
	phone      = Part{"phone", 30, func(f Format, s string) string { return Phone(s, f.Region) }}
	email      = Part{"email", 30, func(_ Format, s string) string { return Email(s) }}
	family     = Part{"family", 7, func(_ Format, s string) string { return Name(s) }}
	given      = Part{"given", 6, func(_ Format, s string) string { return Name(s) }}
	sound      = Part{"phonetic", 6, func(_ Format, s string) string { return Soundex(s) }}
	birthDate  = Part{"birthdate", 14, func(_ Format, s string) string { return Date(s) }}
	day        = Part{"date", 9, func(_ Format, s string) string { return Date(s) }}
	code       = Part{"code", 5, exact}
)

// Bounds of what an index may give away.
const (
	minBits = 20
	// Under a patient, tokens of two patients are never equal. What is left to count
	// is how often a value recurs in one chart, and there it must have many outcomes too.
	minBitsOfPatient = 5
)

// Index is one blind index. Its id is what a row says, so it never changes.
type Index struct {
	ID    int16
	Name  string
	Parts []Part
	// OfPatient makes the patient a part of every token.
	OfPatient bool
	// Phonetic marks what a practice has to switch on.
	Phonetic bool
	// Budget is what the leakage report allows.
	Budget Budget
	values map[string]func(gjson.Result) [][]string // by type
}

// Budget bounds what counting the tokens of an index may tell.
type Budget struct {
	// TopShare is the largest part of all entries that one token may have, from 1,000 entries on.
	TopShare float64
	// Documents is how many documents one token may have.
	Documents int64
}

// shareFrom is from how many entries on TopShare holds: of few entries each is a large part.
const shareFrom = 1000

// Exceeded reports whether an index of so many entries, of which the most frequent token has so many, tells more than it may.
func (b Budget) Exceeded(entries, mostFrequent int64) bool {
	return mostFrequent > b.Documents || entries >= shareFrom && float64(mostFrequent) > b.TopShare*float64(entries)
}

// define refuses an index whose tokens could be told by counting them. That is a
// mistake in the code, so it panics when the service starts.
func define(x Index) *Index {
	bits, least := 0, minBits
	for _, p := range x.Parts {
		bits += p.Bits
	}
	if x.OfPatient {
		least = minBitsOfPatient
	}
	if bits < least {
		panic(fmt.Sprintf("index: %s has %d bits and needs %d: a value with few outcomes is not indexed alone", x.Name, bits, least))
	}
	if x.Budget == (Budget{}) {
		panic("index: " + x.Name + " has no budget")
	}
	return &x
}

// Types returns the types of resources that the index holds.
func (x *Index) Types() []string { return sorted(x.values) }

// Holds reports whether the index holds resources of a type.
func (x *Index) Holds(resourceType string) bool { return x.values[resourceType] != nil }

// The indexes.
var (
	IdentifierSystem = define(Index{
		ID: 1, Name: "identifier", Parts: []Part{system, identifier}, values: identifiers(systemAndValue),
		Budget: Budget{TopShare: 0.02, Documents: 50},
	})
	IdentifierValue = define(Index{
		ID: 2, Name: "identifier-value", Parts: []Part{identifier}, values: identifiers(valueOnly),
		Budget: Budget{TopShare: 0.02, Documents: 50},
	})
	PhoneNumber = define(Index{
		ID: 3, Name: "phone", Parts: []Part{phone}, values: ofPatients(phones),
		Budget: Budget{TopShare: 0.01, Documents: 10},
	})
	EmailAddress = define(Index{
		ID: 4, Name: "email", Parts: []Part{email}, values: ofPatients(emails),
		Budget: Budget{TopShare: 0.01, Documents: 10},
	})
	FamilyBirthDate = define(Index{
		ID: 5, Name: "family+birthdate", Parts: []Part{family, birthDate}, values: ofPatients(familiesBorn),
		Budget: Budget{TopShare: 0.005, Documents: 5},
	})
	NameBirthDate = define(Index{
		ID: 6, Name: "family+given+birthdate", Parts: []Part{family, given, birthDate}, values: ofPatients(namesBorn),
		Budget: Budget{TopShare: 0.005, Documents: 5},
	})
	SoundBirthDate = define(Index{
		ID: 7, Name: "phonetic+birthdate", Parts: []Part{sound, birthDate}, Phonetic: true, values: ofPatients(soundsBorn),
		Budget: Budget{TopShare: 0.005, Documents: 5},
	})
	PatientCode = define(Index{
		ID: 8, Name: "patient+code", Parts: []Part{system, code}, OfPatient: true, values: codes,
		Budget: Budget{TopShare: 0.02, Documents: 500},
	})
	PatientDay = define(Index{
		ID: 9, Name: "patient+date", Parts: []Part{day}, OfPatient: true,
		values: map[string]func(gjson.Result) [][]string{"Encounter": encounterDay},
		Budget: Budget{TopShare: 0.01, Documents: 20},
	})
)

var all = []*Index{
	IdentifierSystem, IdentifierValue, PhoneNumber, EmailAddress, FamilyBirthDate, NameBirthDate, SoundBirthDate,
	PatientCode, PatientDay,
}

// All returns every index, by id.
func All() []*Index { return all }

// Of returns the index of an id, which a stored entry has. It panics where there is none.
func Of(id int16) *Index {
	for _, x := range all {
		if x.ID == id {
			return x
		}
	}
	panic(fmt.Sprintf("index: an entry is of index %d, which there is not", id))
}

// Indexed returns the types of which any index holds something, sorted.
func Indexed() []string {
	types := map[string]bool{}
	for _, x := range all {
		for t := range x.values {
			types[t] = true
		}
	}
	return sorted(types)
}
