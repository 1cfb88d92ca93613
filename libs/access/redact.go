package access

import (
	"sync"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// plan says what Redact does with one message type: which of its own fields take
// a permission, and through which fields other such fields are reached.
type plan struct {
	restricted []restriction
	nested     []nesting
	reach
}

// reach is what a type asks for, here or anywhere below.
type reach struct {
	// needed holds every permission that some field takes.
	needed Permissions
	// hidden are the purposes for which some field is not shown.
	hidden purposes
	// dynamic: the type reaches google.protobuf.Any, whose content only the message itself tells.
	dynamic bool
}

// whole says that there is nothing to hide from the view.
func (r reach) whole(v View) bool {
	return !r.dynamic && !r.hidden.has(v.Purpose) && v.Held.HasAll(r.needed)
}

// purposes is a set of purposes of use.
type purposes uint32

const everyPurpose = ^purposes(0)

func (p purposes) has(x accessv1.Purpose) bool { return p&(1<<x) != 0 }

type restriction struct {
	field      protoreflect.FieldDescriptor
	permission accessv1.Permission
	hidden     purposes
}

func (r restriction) hides(v View) bool {
	return r.hidden.has(v.Purpose) || r.permission != 0 && !v.Held.Has(r.permission)
}

type nesting struct {
	field protoreflect.FieldDescriptor
	// reach is that of the message type below, so that a branch with nothing to hide is skipped.
	reach
	below protoreflect.MessageDescriptor
}

// View is through whose eyes a message is seen: what they hold, and what for.
type View struct {
	Held    Permissions
	Purpose accessv1.Purpose
}

var plans sync.Map // protoreflect.MessageDescriptor → *plan

const anyName protoreflect.FullName = "google.protobuf.Any"

// Redact clears, anywhere in msg, each field that takes a permission which the view
// does not hold, or that is not for its purpose. Fields without a rule stay: the permission of the RPC covers them.
// Unknown fields (numbers that this build's proto does not know) are left alone; a
// message made by this process has none.
func Redact(msg proto.Message, v View) {
	if msg == nil {
		return
	}
	m := msg.ProtoReflect()
	if !m.IsValid() {
		return
	}
	p := planOf(m.Descriptor())
	if p.whole(v) {
		return
	}
	redact(m, p, v)
}

// Restricted returns the permissions that fields of the message type take, at any depth.
func Restricted(md protoreflect.MessageDescriptor) Permissions { return planOf(md).needed }

func redact(m protoreflect.Message, p *plan, v View) {
	if !m.IsValid() {
		return // a nil element of a list or map
	}
	for _, r := range p.restricted {
		if r.hides(v) {
			m.Clear(r.field)
		}
	}
	for _, n := range p.nested {
		if n.whole(v) || !m.Has(n.field) {
			continue
		}
		redactField(m, n, v)
	}
	if p.dynamic && m.Descriptor().FullName() == anyName {
		redactAny(m, v)
	}
}

func redactField(m protoreflect.Message, n nesting, v View) {
	below := planOf(n.below)
	switch {
	case n.field.IsMap():
		m.Mutable(n.field).Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
			redact(value.Message(), below, v)
			return true
		})
	case n.field.IsList():
		list := m.Mutable(n.field).List()
		for i := range list.Len() {
			redact(list.Get(i).Message(), below, v)
		}
	default:
		redact(m.Mutable(n.field).Message(), below, v)
	}
}

// redactAny opens a packed message. One that cannot be opened is emptied: what
// nobody can look into cannot be released.
func redactAny(m protoreflect.Message, v View) {
	fields := m.Descriptor().Fields()
	url, value := fields.ByName("type_url"), fields.ByName("value")
	mt, err := protoregistry.GlobalTypes.FindMessageByURL(m.Get(url).String())
	if err != nil {
		m.Clear(value)
		return
	}
	inner := mt.New().Interface()
	if err := proto.Unmarshal(m.Get(value).Bytes(), inner); err != nil {
		m.Clear(value)
		return
	}
	Redact(inner, v)
	packed, err := proto.MarshalOptions{Deterministic: true}.Marshal(inner)
	if err != nil {
		m.Clear(value)
		return
	}
	m.Set(value, protoreflect.ValueOfBytes(packed))
}

// planOf computes the plan of a type once.
func planOf(md protoreflect.MessageDescriptor) *plan {
	if v, ok := plans.Load(md); ok {
		return v.(*plan)
	}
	v, _ := plans.LoadOrStore(md, newPlan(md))
	return v.(*plan)
}

func newPlan(md protoreflect.MessageDescriptor) *plan {
	p := &plan{reach: reachOf(md, map[protoreflect.FullName]bool{})}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if r := (restriction{field: f, permission: fieldPermission(f), hidden: hiddenFor(f)}); r.permission != 0 || r.hidden != 0 {
			p.restricted = append(p.restricted, r)
		}
		below := messageBelow(f)
		if below == nil {
			continue
		}
		if r := reachOf(below, map[protoreflect.FullName]bool{}); r != (reach{}) {
			p.nested = append(p.nested, nesting{field: f, reach: r, below: below})
		}
	}
	return p
}

// reachOf collects what the fields of a type, and of all types below it, take. Types
// may contain themselves, so visited ones are skipped.
func reachOf(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) reach {
	var r reach
	if seen[md.FullName()] {
		return r
	}
	seen[md.FullName()] = true
	r.dynamic = md.FullName() == anyName
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		r.needed.Add(fieldPermission(f))
		r.hidden |= hiddenFor(f)
		if below := messageBelow(f); below != nil {
			n := reachOf(below, seen)
			r.needed, r.hidden, r.dynamic = r.needed.Or(n.needed), r.hidden|n.hidden, r.dynamic || n.dynamic
		}
	}
	return r
}

// messageBelow returns the message type that a field holds, or its map values hold.
func messageBelow(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// FieldRuleOf returns the rule of a field, nil where it has none.
func FieldRuleOf(f protoreflect.FieldDescriptor) *accessv1.FieldRule {
	options := f.Options()
	if !proto.HasExtension(options, accessv1.E_Field) {
		return nil
	}
	return proto.GetExtension(options, accessv1.E_Field).(*accessv1.FieldRule)
}

func fieldPermission(f protoreflect.FieldDescriptor) accessv1.Permission {
	return FieldRuleOf(f).GetPermission()
}

// hiddenFor are the purposes for which a field is not shown, where it names those for
// which it is. A request that states none sees none of these fields.
func hiddenFor(f protoreflect.FieldDescriptor) purposes {
	shown := FieldRuleOf(f).GetPurposes()
	if len(shown) == 0 {
		return 0
	}
	hidden := everyPurpose
	for _, p := range shown {
		hidden &^= 1 << p
	}
	return hidden
}

// ShownFor says whether a field is in responses for the purpose of use.
func ShownFor(f protoreflect.FieldDescriptor, purpose accessv1.Purpose) bool {
	return !hiddenFor(f).has(purpose)
}
