package roles

import (
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// purposes lists for each kind of role what it may use data for. An administrator
// treats nobody; a superadmin sees no patient.
var purposes = map[accessv1.RoleKind][]accessv1.Purpose{
	accessv1.RoleKind_ROLE_KIND_SUPERADMIN: {accessv1.Purpose_PURPOSE_OPERATIONS},
	accessv1.RoleKind_ROLE_KIND_ADMIN: {
		accessv1.Purpose_PURPOSE_PAYMENT, accessv1.Purpose_PURPOSE_OPERATIONS, accessv1.Purpose_PURPOSE_INDIVIDUAL,
	},
	accessv1.RoleKind_ROLE_KIND_DOCTOR: {
		accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Purpose_PURPOSE_PAYMENT,
		accessv1.Purpose_PURPOSE_OPERATIONS, accessv1.Purpose_PURPOSE_INDIVIDUAL,
	},
	accessv1.RoleKind_ROLE_KIND_STAFF: {
		accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Purpose_PURPOSE_PAYMENT,
		accessv1.Purpose_PURPOSE_OPERATIONS, accessv1.Purpose_PURPOSE_INDIVIDUAL,
	},
}

// MayState says whether somebody of the kind of role who holds these permissions may
// state the purpose of use. TREATMENT is exempt from minimum necessary (45 CFR
// 164.502(b)(2)(i)), so only who holds a clinical permission may state it: a
// receptionist books appointments, which is OPERATIONS.
func MayState(kind accessv1.RoleKind, held access.Permissions, purpose accessv1.Purpose) bool {
	if purpose == accessv1.Purpose_PURPOSE_TREATMENT && !clinical(held) {
		return false
	}
	return slices.Contains(purposes[kind], purpose)
}

func clinical(held access.Permissions) bool {
	return slices.ContainsFunc(held.List(), func(p accessv1.Permission) bool {
		switch access.ModuleOf(p) {
		case accessv1.Module_MODULE_NOTES, accessv1.Module_MODULE_PRESCRIPTIONS, accessv1.Module_MODULE_CLINICAL:
			return true
		default:
			return false
		}
	})
}
