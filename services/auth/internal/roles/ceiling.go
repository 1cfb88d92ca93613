package roles

import (
	"strings"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// beyondNurse is what a practice may give its nurses above their template, for
// good or for some hours. Prescriptions stay read-only and national identifiers closed.
var beyondNurse = set([]accessv1.Permission{
	accessv1.Permission_PERMISSION_PATIENTS_CREATE,
	accessv1.Permission_PERMISSION_PATIENTS_UPDATE,
	accessv1.Permission_PERMISSION_CARE_TEAM_ADD,
	accessv1.Permission_PERMISSION_NOTES_UPDATE,
	accessv1.Permission_PERMISSION_FHIR_HISTORY_READ,
	accessv1.Permission_PERMISSION_ENCOUNTERS_READ,
	accessv1.Permission_PERMISSION_PROCEDURES_READ,
	accessv1.Permission_PERMISSION_DIAGNOSTICS_READ,
	accessv1.Permission_PERMISSION_DIRECTORY_READ,
})

// beyondReceptionist: demographics may be corrected; nothing clinical (claim DC-04).
var beyondReceptionist = set([]accessv1.Permission{accessv1.Permission_PERMISSION_PATIENTS_UPDATE})

// Ceiling is the most that a user of the role can ever hold, whatever custom role
// or grant they have. Admission applies it to everybody.
func Ceiling(r Role) access.Permissions {
	switch r {
	case Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Nurse}:
		return nurse.Or(beyondNurse)
	case Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Receptionist}:
		return receptionist.Or(beyondReceptionist)
	default:
		return Of(r)
	}
}

// Floor is what every role holds: without it, a user could neither prove who they are nor leave.
func Floor() access.Permissions { return set(self) }

// Openable is the part of the modules that the doctor may open to a member of
// the template.
func Openable(doctor access.Permissions, member Role) Modules {
	var m Modules
	for _, known := range moduleList {
		if _, refusal := Grantable(doctor, member, known.bit); refusal != DoctorLacks {
			m |= known.bit
		}
	}
	return m
}

// Holding names the roles that hold the permission, templates as staff/nurse.
func Holding(p accessv1.Permission) []string {
	var names []string
	for _, entry := range catalogue {
		if !entry.permissions.Has(p) {
			continue
		}
		name := strings.ToLower(strings.TrimPrefix(entry.role.Kind.String(), "ROLE_KIND_"))
		if entry.role.Template != "" {
			name += "/" + entry.role.Template
		}
		names = append(names, name)
	}
	return names
}
