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
	// needed holds every permission that some field, here or below, takes.
	needed Permissions
	// dynamic: the type reaches google.protobuf.Any, whose content only the message itself tells.
	dynamic bool
}

type restriction struct {
	field      protoreflect.FieldDescriptor
	permission accessv1.Permission
}

type nesting struct {
	field protoreflect.FieldDescriptor
	// needed and dynamic are those of the message type below, so that a branch with nothing to hide is skipped.
	needed  Permissions
	dynamic bool
	below   protoreflect.MessageDescriptor
}

var plans sync.Map // protoreflect.MessageDescriptor → *plan

const anyName protoreflect.FullName = "google.protobuf.Any"

// Redact clears, anywhere in msg, each field that takes a permission which held
// does not contain. Fields without a rule stay: the permission of the RPC covers them.
// Unknown fields (numbers that this build's proto does not know) are left alone; a
// message made by this process has none.
func Redact(msg proto.Message, held Permissions) {
	if msg == nil {
		return
	}
	m := msg.ProtoReflect()
	if !m.IsValid() {
		return
	}
	p := planOf(m.Descriptor())
	if !p.dynamic && held.HasAll(p.needed) {
		return
	}
	redact(m, p, held)
}

// Restricted returns the permissions that fields of the message type take, at any depth.
func Restricted(md protoreflect.MessageDescriptor) Permissions { return planOf(md).needed }

func redact(m protoreflect.Message, p *plan, held Permissions) {
	if !m.IsValid() {
		return // a nil element of a list or map
	}
	for _, r := range p.restricted {
		if !held.Has(r.permission) {
			m.Clear(r.field)
		}
	}
	for _, n := range p.nested {
		if (!n.dynamic && held.HasAll(n.needed)) || !m.Has(n.field) {
			continue
		}
		redactField(m, n, held)
	}
	if p.dynamic && m.Descriptor().FullName() == anyName {
		redactAny(m, held)
	}
}

func redactField(m protoreflect.Message, n nesting, held Permissions) {
	below := planOf(n.below)
	switch {
	case n.field.IsMap():
		m.Mutable(n.field).Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			redact(v.Message(), below, held)
			return true
		})
	case n.field.IsList():
		list := m.Mutable(n.field).List()
		for i := range list.Len() {
			redact(list.Get(i).Message(), below, held)
		}
	default:
		redact(m.Mutable(n.field).Message(), below, held)
	}
}

// redactAny opens a packed message. One that cannot be opened is emptied: what
// nobody can look into cannot be released.
func redactAny(m protoreflect.Message, held Permissions) {
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
	Redact(inner, held)
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
	p := &plan{}
	p.needed, p.dynamic = reach(md, map[protoreflect.FullName]bool{})
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if x := fieldPermission(f); x != 0 {
			p.restricted = append(p.restricted, restriction{field: f, permission: x})
		}
		below := messageBelow(f)
		if below == nil {
			continue
		}
		needed, dynamic := reach(below, map[protoreflect.FullName]bool{})
		if dynamic || needed.Len() > 0 {
			p.nested = append(p.nested, nesting{field: f, needed: needed, dynamic: dynamic, below: below})
		}
	}
	return p
}

// reach collects what the fields of a type, and of all types below it, take. Types
// may contain themselves, so visited ones are skipped.
func reach(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) (Permissions, bool) {
	var needed Permissions
	if seen[md.FullName()] {
		return needed, false
	}
	seen[md.FullName()] = true
	dynamic := md.FullName() == anyName
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		needed.Add(fieldPermission(f))
		if below := messageBelow(f); below != nil {
			n, d := reach(below, seen)
			for j := range needed.bits {
				needed.bits[j] |= n.bits[j]
			}
			dynamic = dynamic || d
		}
	}
	return needed, dynamic
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
