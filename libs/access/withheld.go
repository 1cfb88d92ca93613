package access

import (
	"slices"
	"sync"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxWithheld bounds what an event says of fields; no response type of ours has as many.
const maxWithheld = 64

// eyes are all that decides what of a message type is cleared.
type eyes struct {
	message protoreflect.FullName
	held    Permissions
	purpose accessv1.Purpose
}

var withheld sync.Map // eyes → []string

// Withheld names the fields that [Redact] clears in messages of a type for a view, as
// "Patient.phone", sorted; nil where it clears none. The slice is shared: do not change it.
func Withheld(md protoreflect.MessageDescriptor, v View) []string {
	p := planOf(md)
	if p.whole(v) {
		return nil
	}
	// Permissions that no field takes make no difference, so there are few keys.
	key := eyes{message: md.FullName(), held: v.Held.And(p.needed), purpose: v.Purpose}
	if known, ok := withheld.Load(key); ok {
		return known.([]string)
	}
	var names []string
	collectWithheld(md, v, map[protoreflect.FullName]bool{}, &names)
	slices.Sort(names)
	names = names[:min(len(names), maxWithheld)]
	withheld.Store(key, names)
	return names
}

func collectWithheld(md protoreflect.MessageDescriptor, v View, seen map[protoreflect.FullName]bool, into *[]string) {
	if seen[md.FullName()] {
		return
	}
	seen[md.FullName()] = true
	p := planOf(md)
	hidden := map[protoreflect.FullName]bool{}
	for _, r := range p.restricted {
		if r.hides(v) {
			hidden[r.field.FullName()] = true
			*into = append(*into, string(md.Name())+"."+string(r.field.Name()))
		}
	}
	for _, n := range p.nested {
		if !hidden[n.field.FullName()] && !n.whole(v) {
			collectWithheld(n.below, v, seen, into)
		}
	}
}
