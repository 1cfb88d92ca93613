// Package generator makes synthetic FHIR R4 patients: the same seed gives the
// same bytes on every machine, from one patient to a million, streamed in
// constant memory. It stands in for Synthea in tests, benchmarks and the demo;
// it describes no real person and does not aim at clinical plausibility.
package generator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxPatients is how many patients one seed can make before social security
// numbers would repeat.
const MaxPatients = 1_000_000

// PerPatient is the number of bundle entries made for each patient: the Patient
// itself, 2 Encounter, 2 Condition, 5 Observation, 2 MedicationRequest,
// 1 Appointment and 1 DocumentReference, in this order.
const PerPatient = 1 + encounters + conditions + observations + prescriptions + 1 + 1

// Options say which patients a bundle holds: numbers First to First+Patients-1
// of the population of the seed.
type Options struct {
	Seed     int64
	Patients int
	First    int
}

func (o Options) check() error {
	switch {
	case o.Patients < 1:
		return errors.New("generator: patients must be at least 1")
	case o.First < 0:
		return errors.New("generator: first must not be negative")
	case o.First+o.Patients > MaxPatients:
		return fmt.Errorf("generator: first + patients must be at most %d", MaxPatients)
	}
	return nil
}

// Bundle writes one transaction bundle with the patients of the options.
func Bundle(w io.Writer, opts Options) error {
	if err := opts.check(); err != nil {
		return err
	}
	// A bufio.Writer keeps its first error, so the last call reports it.
	out := bufio.NewWriterSize(w, 64<<10)
	opening := "{\n  \"resourceType\": \"Bundle\",\n  \"type\": \"transaction\",\n  \"entry\": [\n"
	for i := opts.First; i < opts.First+opts.Patients; i++ {
		for _, r := range Resources(Patient(opts.Seed, i)) {
			_, err := fmt.Fprintf(out, "%s    {\"fullUrl\": \"urn:uuid:%s\", \"resource\": %s, \"request\": {\"method\": \"POST\", \"url\": \"%s\"}}",
				opening, r.ID, r.JSON, r.Type)
			if err != nil {
				return fmt.Errorf("generator: write bundle: %w", err)
			}
			opening = ",\n"
		}
	}
	_, _ = fmt.Fprint(out, "\n  ]\n}\n")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("generator: write bundle: %w", err)
	}
	return nil
}
