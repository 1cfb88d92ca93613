package roles_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/audit/v1" // the answers of all services are looked at
	_ "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/devkit/golden"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
)

// The least that is necessary, role by role: for which purposes it may ask, and
// which fields with patient data the answers of its RPCs hold, and which of those are
// taken out for the role or the purpose.
func TestDX09_DMD05_EachRoleSeesTheseFieldsForThesePurposes(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, role := range roles.All() {
		name := strings.TrimPrefix(role.Kind.String(), "ROLE_KIND_")
		if role.Template != "" {
			name += "/" + role.Template
		}
		for p := accessv1.Purpose(1); accessv1.Purpose_name[int32(p)] != ""; p++ {
			if !roles.MayState(role.Kind, roles.Of(role), p) {
				continue
			}
			lines = append(lines, name+" for "+strings.TrimPrefix(p.String(), "PURPOSE_"))
			all := seen(access.View{Held: roles.Of(role), Purpose: p}, false)
			shown := seen(access.View{Held: roles.Of(role), Purpose: p}, true)
			for _, field := range all {
				mark := "  hidden  "
				if slices.Contains(shown, field) {
					mark = "  visible "
				}
				lines = append(lines, mark+field)
			}
			weak := access.View{Held: roles.AtAssurance(roles.Of(role), accessv1.Assurance_ASSURANCE_AAL1), Purpose: p}
			require.Empty(t, seen(weak, false), "%s with one factor", name)
		}
	}
	golden.Lines(t, "seen", lines)
}

// seen are the fields with patient data in full answers of the RPCs which the
// permissions open, before or after what the server clears.
func seen(v access.View, cleared bool) []string {
	var fields []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				rule, ok := access.RuleOf("/" + string(service.FullName()) + "/" + string(method.Name()))
				if !ok || !v.Held.Has(rule.GetPermission()) {
					continue
				}
				answer := dynamicpb.NewMessage(method.Output())
				fill(answer, 6)
				if cleared {
					access.Redact(answer, v)
				}
				collect(answer, &fields)
			}
		}
		return true
	})
	slices.Sort(fields)
	return slices.Compact(fields)
}

// fill gives every field something, so that what is missing later was taken out.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case field.IsMap() || (field.Message() != nil && depth == 0):
		case field.IsList():
			list := m.Mutable(field).List()
			element := list.NewElement()
			if field.Message() != nil {
				fill(element.Message(), depth-1)
			}
			list.Append(element)
		case field.Message() != nil:
			fill(m.Mutable(field).Message(), depth-1)
		case field.Kind() == protoreflect.StringKind:
			m.Set(field, protoreflect.ValueOfString("x"))
		case field.Kind() == protoreflect.BoolKind:
			m.Set(field, protoreflect.ValueOfBool(true))
		case field.Kind() == protoreflect.EnumKind:
			m.Set(field, protoreflect.ValueOfEnum(1))
		default:
			fillNumber(m, field)
		}
	}
}

func fillNumber(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch field.Kind() {
	case protoreflect.BytesKind:
		m.Set(field, protoreflect.ValueOfBytes([]byte("x")))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		m.Set(field, protoreflect.ValueOfInt64(1))
	case protoreflect.Uint64Kind:
		m.Set(field, protoreflect.ValueOfUint64(1))
	case protoreflect.Uint32Kind:
		m.Set(field, protoreflect.ValueOfUint32(1))
	case protoreflect.DoubleKind:
		m.Set(field, protoreflect.ValueOfFloat64(1))
	case protoreflect.FloatKind:
		m.Set(field, protoreflect.ValueOfFloat32(1))
	default:
		m.Set(field, protoreflect.ValueOfInt32(1))
	}
}

// collect names the fields with patient data that are set, here and below.
func collect(m protoreflect.Message, fields *[]string) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		rule, _ := proto.GetExtension(field.Options(), accessv1.E_Field).(*accessv1.FieldRule)
		if rule.GetPhi() {
			*fields = append(*fields, string(field.Parent().Name())+"."+string(field.Name()))
		}
		switch {
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			collect(value.List().Get(0).Message(), fields)
		default:
			collect(value.Message(), fields)
		}
		return true
	})
}
