package attach

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidName reports whether a name is one of a file and not of a path, in plain text.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool {
		return r == '/' || r == '\\' || !unicode.IsPrint(r)
	}) < 0
}
