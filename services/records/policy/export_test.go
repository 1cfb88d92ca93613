package policy

import (
	"maps"
	"slices"
)

// NamedTypes are the types that the table names, and one that it does not.
func NamedTypes() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(byType)), "Flag")))
}
