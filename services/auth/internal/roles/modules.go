package roles

import (
	"fmt"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// Modules is a set of modules, one bit each, as stored with an assignment.
type Modules int32

// The modules by which a doctor narrows what a staff member may do. The bits are stored: never renumber.
const (
	ModuleAppointments Modules = 1 << iota
	ModulePatients
	ModulePrescriptions
	ModuleNotes
	ModuleClinical

	AllModules = ModuleAppointments | ModulePatients | ModulePrescriptions | ModuleNotes | ModuleClinical
)

var moduleList = []struct {
	bit   Modules
	name  string
	first accessv1.Permission
	last  accessv1.Permission
}{
	// The ranges follow the groups of the Permission enum, so that a permission
	// added to a group falls under its module without a change here.
	{ModuleAppointments, "appointments", accessv1.Permission_PERMISSION_APPOINTMENTS_READ, 89},
	{ModulePatients, "patients", accessv1.Permission_PERMISSION_PATIENTS_READ, 59},
	{ModulePrescriptions, "prescriptions", accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ, 79},
	{ModuleNotes, "notes", accessv1.Permission_PERMISSION_NOTES_READ, 69},
	{ModuleClinical, "clinical", accessv1.Permission_PERMISSION_FHIR_READ, 119},
}

// ParseModules turns names into a set. An unknown name is an error.
func ParseModules(names []string) (Modules, error) {
	var m Modules
	for _, name := range names {
		bit := Modules(0)
		for _, known := range moduleList {
			if known.name == name {
				bit = known.bit
			}
		}
		if bit == 0 {
			return 0, fmt.Errorf("no module is called %q", name)
		}
		m |= bit
	}
	return m, nil
}

// Narrow takes away the permissions of modules that are not in the set.
// Permissions of no module, such as those over the own account, stay.
func Narrow(held access.Permissions, m Modules) access.Permissions {
	for _, known := range moduleList {
		if m&known.bit != 0 {
			continue
		}
		for p := known.first; p <= known.last; p++ {
			held.Remove(p)
		}
	}
	return held
}

// permissionsIn returns those of held that belong to the module.
func permissionsIn(held access.Permissions, m Modules) access.Permissions {
	return held.Without(Narrow(held, AllModules&^m))
}

// Grantable checks that the doctor may open these modules to a member of the
// template: nothing that the template lacks, nothing that the doctor lacks.
// It returns the first module that breaks a rule and which one.
func Grantable(doctor access.Permissions, member Role, m Modules) (module string, refusal Refusal) {
	template := Of(member)
	for _, known := range moduleList {
		if m&known.bit == 0 {
			continue
		}
		granted := permissionsIn(template, known.bit)
		if granted.Len() == 0 {
			return known.name, TemplateLacks
		}
		// A custom role or a grant may raise the member to the ceiling later.
		if !doctor.HasAll(permissionsIn(Ceiling(member), known.bit)) {
			return known.name, DoctorLacks
		}
	}
	return "", Granted
}

// Refusal says why a module cannot be granted.
type Refusal int

const (
	Granted Refusal = iota
	TemplateLacks
	DoctorLacks
)
