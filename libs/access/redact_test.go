package access_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
)

const (
	contact  = accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ
	national = accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ
)

// tree is a message type made for these tests, with every way in which a field
// can be reached: itself, a list, a map, a oneof and an Any.
var tree = buildTree()

func buildTree() protoreflect.MessageDescriptor {
	restricted := &descriptorpb.FieldOptions{}
	proto.SetExtension(restricted, accessv1.E_Field, &accessv1.FieldRule{Phi: true, Permission: contact})
	field := func(name string, n int32, typ descriptorpb.FieldDescriptorProto_Type, ref string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(n), Type: typ.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if ref != "" {
			f.TypeName = proto.String(ref)
		}
		return f
	}
	const text, message = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	secret := field("secret", 2, text, "")
	secret.Options = restricted
	list := field("list", 4, message, ".carekeep.accesstest.Tree")
	list.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	entries := field("entries", 5, message, ".carekeep.accesstest.Tree.EntriesEntry")
	entries.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	either := field("either", 6, message, ".carekeep.accesstest.Tree")
	either.OneofIndex = proto.Int32(0)
	other := field("other", 7, text, "")
	other.OneofIndex = proto.Int32(0)
	other.Options = restricted
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("carekeep/accesstest/tree.proto"), Package: proto.String("carekeep.accesstest"), Syntax: proto.String("proto3"),
		Dependency: []string{"carekeep/access/v1/access.proto", "google/protobuf/any.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Tree"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field("open", 1, text, ""), secret, field("one", 3, message, ".carekeep.accesstest.Tree"),
				list, entries, either, other, field("any", 8, message, ".google.protobuf.Any"),
			},
			NestedType: []*descriptorpb.DescriptorProto{{
				Name:    proto.String("EntriesEntry"),
				Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
				Field: []*descriptorpb.FieldDescriptorProto{
					field("key", 1, text, ""), field("value", 2, message, ".carekeep.accesstest.Tree"),
				},
			}},
			OneofDecl: []*descriptorpb.OneofDescriptorProto{{Name: proto.String("choice")}},
		}},
		Service: []*descriptorpb.ServiceDescriptorProto{gaps()},
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(fd); err != nil {
		panic(err)
	}
	return fd.Messages().ByName("Tree")
}

// gaps is a service whose rules are incomplete, each in its way.
func gaps() *descriptorpb.ServiceDescriptorProto {
	method := func(name string, rule *accessv1.Rule) *descriptorpb.MethodDescriptorProto {
		m := &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".carekeep.accesstest.Tree"), OutputType: proto.String(".carekeep.accesstest.Tree"),
		}
		if rule != nil {
			m.Options = &descriptorpb.MethodOptions{}
			proto.SetExtension(m.Options, accessv1.E_Rule, rule)
		}
		return m
	}
	gateway := []accessv1.Service{accessv1.Service_SERVICE_GATEWAY}
	return &descriptorpb.ServiceDescriptorProto{Name: proto.String("Gaps"), Method: []*descriptorpb.MethodDescriptorProto{
		method("Bare", nil),
		method("Empty", &accessv1.Rule{}),
		method("NoCallers", &accessv1.Rule{
			Permission: contact, Assurance: accessv1.Assurance_ASSURANCE_AAL2, Action: accessv1.Action_ACTION_READ,
		}),
		method("OpenPHI", &accessv1.Rule{Anonymous: true, Phi: true, Callers: gateway, Action: accessv1.Action_ACTION_READ}),
	}}
}

func node(set func(m *dynamicpb.Message, field func(string) protoreflect.FieldDescriptor)) *dynamicpb.Message {
	m := dynamicpb.NewMessage(tree)
	field := func(name string) protoreflect.FieldDescriptor {
		return tree.Fields().ByName(protoreflect.Name(name))
	}
	m.Set(field("open"), protoreflect.ValueOfString("open"))
	m.Set(field("secret"), protoreflect.ValueOfString("secret"))
	if set != nil {
		set(m, field)
	}
	return m
}

// full is a tree that holds "secret" in every way a field can be reached.
func full(t *testing.T) *dynamicpb.Message {
	packed, err := anypb.New(&recordsv1.Patient{FamilyName: "open", NationalIdentifiers: []*recordsv1.Identifier{{Value: "secret"}}})
	require.NoError(t, err)
	return node(func(m *dynamicpb.Message, field func(string) protoreflect.FieldDescriptor) {
		m.Set(field("one"), protoreflect.ValueOfMessage(node(nil)))
		list := m.Mutable(field("list")).List()
		list.Append(protoreflect.ValueOfMessage(node(nil)))
		list.Append(protoreflect.ValueOfMessage(node(func(n *dynamicpb.Message, field func(string) protoreflect.FieldDescriptor) {
			n.Set(field("other"), protoreflect.ValueOfString("secret"))
		})))
		m.Mutable(field("entries")).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfMessage(node(nil)))
		m.Set(field("either"), protoreflect.ValueOfMessage(node(nil)))
		m.Set(field("any"), protoreflect.ValueOfMessage(packed.ProtoReflect()))
	})
}

func TestDMD05_RedactReachesEveryField(t *testing.T) {
	whole := full(t)
	before, err := proto.Marshal(whole)
	require.NoError(t, err)
	require.Contains(t, string(before), "secret")

	access.Redact(whole, access.View{})
	after, err := proto.Marshal(whole)
	require.NoError(t, err)
	require.NotContains(t, string(after), "secret")
	require.Contains(t, string(after), "open", "fields without a rule stay")

	kept := full(t)
	access.Redact(kept, treating(contact, national))
	require.True(t, proto.Equal(full(t), kept), "a caller who holds everything loses nothing")
}

func TestDMD05_AnyThatCannotBeOpenedIsEmptied(t *testing.T) {
	for _, a := range []*anypb.Any{
		{TypeUrl: "type.googleapis.com/no.such.Type", Value: []byte("secret")},
		{TypeUrl: "type.googleapis.com/carekeep.records.v1.Patient", Value: []byte("\xffsecret")},
	} {
		access.Redact(a, treating(contact, national))
		require.Empty(t, a.GetValue())
	}
}

func TestDMD05_PatientFieldsByPermission(t *testing.T) {
	patient := func() *recordsv1.Patient {
		return &recordsv1.Patient{
			Name: "patients/1", NationalIdentifiers: []*recordsv1.Identifier{{Value: "943 476 5919"}},
			Telecoms: []*recordsv1.Telecom{{}}, Addresses: []*recordsv1.Address{{}},
		}
	}
	for _, tc := range []struct {
		held                      access.Permissions
		nationalID, telecom, home bool
	}{
		{access.NewPermissions(), false, false, false},
		{access.NewPermissions(national), true, false, false},
		{access.NewPermissions(contact), false, true, true},
		{access.NewPermissions(contact, national), true, true, true},
	} {
		list := &recordsv1.ListPatientsResponse{Patients: []*recordsv1.Patient{patient(), patient()}}
		access.Redact(list, treating(tc.held.List()...))
		for _, p := range list.GetPatients() {
			require.Equal(t, "patients/1", p.GetName())
			require.Equal(t, tc.nationalID, len(p.GetNationalIdentifiers()) > 0)
			require.Equal(t, tc.telecom, len(p.GetTelecoms()) > 0)
			require.Equal(t, tc.home, len(p.GetAddresses()) > 0)
		}
	}
}

// What an event says was withheld is exactly what Redact clears.
func TestDMD05_WithheldNamesWhatRedactClears(t *testing.T) {
	list := (&recordsv1.ListPatientsResponse{}).ProtoReflect().Descriptor()
	require.Nil(t, access.Withheld(list, treating(contact, national)))
	some := access.Withheld(list, treating(contact))
	require.Contains(t, some, "Patient.national_identifiers")
	require.NotContains(t, some, "Patient.telecoms")
	require.Contains(t, access.Withheld(list, treating()), "Patient.telecoms")
	require.Equal(t, []string{"Tree.other", "Tree.secret"}, access.Withheld(tree, access.View{}), "a type that contains itself ends")
}

func TestRedactTakesNilAndEmptyMessages(t *testing.T) {
	access.Redact(nil, access.View{})
	access.Redact((*recordsv1.Patient)(nil), access.View{})
	access.Redact(&recordsv1.ListPatientsResponse{Patients: []*recordsv1.Patient{nil, {}}}, access.View{})
}

func BenchmarkRedact(b *testing.B) {
	entry := &auditv1.Entry{Seq: 1, EventBytes: []byte("x"), Event: &auditv1.Event{EventId: "1"}}
	for name, held := range map[string]access.Permissions{
		"all": access.NewPermissions(accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ), "none": {},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				access.Redact(entry, access.View{Held: held})
			}
		})
	}
}

func treating(held ...accessv1.Permission) access.View {
	return access.View{Held: access.NewPermissions(held...), Purpose: accessv1.Purpose_PURPOSE_TREATMENT}
}

// Fields that name purposes are shown for those and no others, whatever the caller
// holds, and at any depth.
func TestDMD05_FieldsArePartOfTheAnswerForTheirPurposesOnly(t *testing.T) {
	for purpose, want := range map[accessv1.Purpose][3]bool{ // text of a note, medicine, national identifier
		accessv1.Purpose_PURPOSE_TREATMENT:   {true, true, true},
		accessv1.Purpose_PURPOSE_INDIVIDUAL:  {true, true, true},
		accessv1.Purpose_PURPOSE_PAYMENT:     {false, true, true},
		accessv1.Purpose_PURPOSE_OPERATIONS:  {false, false, false},
		accessv1.Purpose_PURPOSE_UNSPECIFIED: {false, false, false},
	} {
		v := treating(contact, national)
		v.Purpose = purpose
		notes := &recordsv1.ListNotesResponse{Notes: []*recordsv1.Note{{Name: "n", Text: "secret"}}}
		medicines := &recordsv1.ListPrescriptionsResponse{Prescriptions: []*recordsv1.Prescription{{Name: "n", Medication: "secret"}}}
		patient := &recordsv1.Patient{Name: "n", NationalIdentifiers: []*recordsv1.Identifier{{Value: "secret"}}}
		for _, m := range []proto.Message{notes, medicines, patient} {
			access.Redact(m, v)
		}
		require.Equal(t, want, [3]bool{
			notes.GetNotes()[0].GetText() != "", medicines.GetPrescriptions()[0].GetMedication() != "", len(patient.GetNationalIdentifiers()) > 0,
		}, purpose)
		require.Equal(t, "n", notes.GetNotes()[0].GetName())
	}
}

// Minimum necessary does not apply to treatment and to the individual (45 CFR 164.502(b)(2)).
func TestDMD05_NoFieldIsHiddenFromTreatmentOrTheIndividual(t *testing.T) {
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		fields := mt.Descriptor().Fields()
		for i := range fields.Len() {
			for _, exempt := range []accessv1.Purpose{accessv1.Purpose_PURPOSE_TREATMENT, accessv1.Purpose_PURPOSE_INDIVIDUAL} {
				require.True(t, access.ShownFor(fields.Get(i), exempt), fields.Get(i).FullName())
			}
		}
		return true
	})
}
