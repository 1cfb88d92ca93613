package policy

import (
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// Needed says whether a purpose of use needs raw resources of a type. Raw resources
// cannot be narrowed field by field, so minimum necessary (45 CFR 164.502(b)) refuses whole
// types: PAYMENT needs bills and cover, OPERATIONS neither, and both the practice's
// directory. Treatment and the individual are exempt. Who states no purpose needs nothing.
func Needed(purpose accessv1.Purpose, resourceType string) bool {
	switch purpose {
	case accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Purpose_PURPOSE_INDIVIDUAL:
		return true
	case accessv1.Purpose_PURPOSE_PAYMENT:
		return takes(resourceType, accessv1.Permission_PERMISSION_CLAIMS_READ, accessv1.Permission_PERMISSION_DIRECTORY_READ)
	case accessv1.Purpose_PURPOSE_OPERATIONS:
		return takes(resourceType, accessv1.Permission_PERMISSION_DIRECTORY_READ)
	default:
		return false
	}
}

// takes says whether reading the type takes one of the permissions.
func takes(resourceType string, any ...accessv1.Permission) bool {
	return slices.ContainsFunc(ReadPermissions(resourceType), func(p accessv1.Permission) bool { return slices.Contains(any, p) })
}
