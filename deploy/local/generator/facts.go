package generator

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Systems of the identifiers that a generated patient has.
const (
	SSNSystem = "http://hl7.org/fhir/sid/us-ssn"
	MRNSystem = "https://generator.carekeep.example/mrn"
)

// Facts are a generated patient in plain values, so that a test knows what to
// search for, and what must never be found in clear.
type Facts struct {
	// Number is the position in the population of the seed, from 0.
	Number int
	ID     uuid.UUID

	FamilyName string
	GivenNames []string
	// Gender is "male" or "female", BirthDate has the form 2006-01-02.
	Gender    string
	BirthDate string

	// SSN has the form 999-12-3456: area 999 is never given to anybody.
	SSN   string
	MRN   string
	Phone string

	AddressLine string
	City        string
	State       string
	PostalCode  string

	NoteTitle   string
	NoteText    string
	Medications []string

	Encounters    []uuid.UUID
	Conditions    []uuid.UUID
	Observations  []uuid.UUID
	Prescriptions []uuid.UUID
	Appointment   uuid.UUID
	Note          uuid.UUID

	seed int64
}

// Patient gives the facts of patient number i of a seed's population.
func Patient(seed int64, i int) Facts {
	draw := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
	f := Facts{Number: i, seed: seed}
	f.ID = f.id("Patient", 0)
	f.Gender, f.GivenNames = givenNames(draw)
	f.FamilyName = pick(draw, families)
	f.BirthDate = time.Date(1930, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, draw.IntN(90*365)).Format(time.DateOnly)
	f.SSN = serial(seed, i, 1_000_000, 387_521, func(n int) string { return fmt.Sprintf("999-%02d-%04d", n/10_000, n%10_000) })
	f.Phone = serial(seed, i, 10_000_000, 6_180_341, func(n int) string { return fmt.Sprintf("555-%03d-%04d", n/10_000, n%10_000) })
	f.MRN = fmt.Sprintf("MRN%d-%07d", uint64(seed)%10_000, i)
	f.AddressLine = fmt.Sprintf("%d %s %s", 1+draw.IntN(1999), pick(draw, streets), pick(draw, ways))
	place := pick(draw, places)
	f.City, f.State = place.city, place.state
	f.PostalCode = fmt.Sprintf("%s%02d", place.zip, draw.IntN(100))
	f.Encounters = f.ids("Encounter", encounters)
	f.Conditions = f.ids("Condition", conditions)
	f.Observations = f.ids("Observation", observations)
	f.Prescriptions = f.ids("MedicationRequest", prescriptions)
	f.Appointment = f.id("Appointment", 0)
	f.Note = f.id("DocumentReference", 0)
	for _, m := range draw.Perm(len(medicines))[:prescriptions] {
		f.Medications = append(f.Medications, medicines[m].name)
	}
	f.NoteTitle, f.NoteText = note(draw, &f)
	return f
}

func givenNames(draw *rand.Rand) (gender string, names []string) {
	gender, table := "female", women
	if draw.IntN(2) == 0 {
		gender, table = "male", men
	}
	names = []string{pick(draw, table)}
	if draw.IntN(3) == 0 {
		if second := pick(draw, table); second != names[0] {
			names = append(names, second)
		}
	}
	return gender, names
}

func note(draw *rand.Rand, f *Facts) (title, text string) {
	complaint := pick(draw, complaints)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, born %s, comes with %s for %d days. ", f.GivenNames[0], f.FamilyName, f.BirthDate, complaint, 2+draw.IntN(20))
	fmt.Fprintf(&b, "Pulse %d, temperature %d.%d C. ", 58+draw.IntN(50), 36+draw.IntN(2), draw.IntN(10))
	fmt.Fprintf(&b, "%s Continues %s. Reachable at %s.", pick(draw, plans), f.Medications[0], f.Phone)
	return "Visit for " + complaint, b.String()
}

// serial spreads i over size outcomes without a repetition: step has no factor
// in common with size, so that i*step+offset is a permutation.
func serial(seed int64, i, size, step int, format func(int) string) string {
	offset := int(uint64(seed) * 7_919 % uint64(size))
	return format((i*step + offset) % size)
}

// id is the name-based UUID (RFC 9562 version 5) of the patient's n-th resource of a type.
func (f *Facts) id(kind string, n int) uuid.UUID {
	name := binary.BigEndian.AppendUint64(nil, uint64(f.seed))
	name = binary.BigEndian.AppendUint64(name, uint64(f.Number))
	name = binary.BigEndian.AppendUint64(name, uint64(n))
	return uuid.NewSHA1(uuid.NameSpaceOID, append(name, kind...))
}

func (f *Facts) ids(kind string, count int) []uuid.UUID {
	ids := make([]uuid.UUID, count)
	for n := range ids {
		ids[n] = f.id(kind, n)
	}
	return ids
}

func pick[T any](draw *rand.Rand, table []T) T { return table[draw.IntN(len(table))] }
