package roles

import (
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// purposes lists for each kind of role what it may use data for; the first is
// the usual one. Who holds no clinical permission cannot claim treatment.
var purposes = map[accessv1.RoleKind][]accessv1.Purpose{
	accessv1.RoleKind_ROLE_KIND_SUPERADMIN: {accessv1.Purpose_PURPOSE_OPERATIONS},
	accessv1.RoleKind_ROLE_KIND_ADMIN: {
		accessv1.Purpose_PURPOSE_OPERATIONS, accessv1.Purpose_PURPOSE_PAYMENT, accessv1.Purpose_PURPOSE_INDIVIDUAL,
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

// PurposeFor returns the purpose of use of a request: the asked one where the
// role may claim it, the role's usual one where none was asked for.
func PurposeFor(kind accessv1.RoleKind, asked accessv1.Purpose) (accessv1.Purpose, bool) {
	allowed := purposes[kind]
	if len(allowed) == 0 {
		return accessv1.Purpose_PURPOSE_UNSPECIFIED, false
	}
	if asked == accessv1.Purpose_PURPOSE_UNSPECIFIED {
		return allowed[0], true
	}
	return asked, slices.Contains(allowed, asked)
}
