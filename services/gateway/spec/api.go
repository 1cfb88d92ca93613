package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// The options that carry the access policy.
const (
	ruleOption  = protoreflect.FullName("carekeep.access.v1.rule")
	fieldOption = protoreflect.FullName("carekeep.access.v1.field")
)

// api is what the proto files say about operations and fields.
type api struct {
	operations map[string]operation // operationId → rule
	fields     map[string]map[string]fieldRule
}

type operation struct {
	method                protoreflect.MethodDescriptor
	permission, assurance string
	phi, anonymous        bool
}

// fieldRule marks a property of a schema.
type fieldRule struct {
	phi, secret, serverSet bool
	permission             string
}

func readAPI(request *pluginpb.CodeGeneratorRequest) (*api, error) {
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: request.GetProtoFile()})
	if err != nil {
		return nil, fmt.Errorf("read the proto files: %w", err)
	}
	options := optionReader{dynamicpb.NewTypes(files)}
	for _, extension := range []protoreflect.FullName{ruleOption, fieldOption} {
		if _, err := files.FindDescriptorByName(extension); err != nil {
			return nil, fmt.Errorf("find option %s: %w", extension, err)
		}
	}
	found := &api{operations: map[string]operation{}, fields: map[string]map[string]fieldRule{}}
	for _, name := range request.GetFileToGenerate() {
		file, err := files.FindFileByPath(name)
		if err != nil {
			return nil, fmt.Errorf("read the proto files: %w", err)
		}
		if err := found.readServices(file.Services(), options); err != nil {
			return nil, err
		}
		if err := found.readMessages(file.Messages(), options); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (a *api) readServices(services protoreflect.ServiceDescriptors, options optionReader) error {
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			method := methods.Get(j)
			rule, err := options.of(method, ruleOption)
			if err != nil {
				return err
			}
			a.operations[string(services.Get(i).Name()+"_"+method.Name())] = operation{
				method:     method,
				permission: rule.enum("permission"),
				assurance:  strings.TrimPrefix(rule.enum("assurance"), "ASSURANCE_"),
				phi:        rule.bool("phi"),
				anonymous:  rule.bool("anonymous"),
			}
		}
	}
	return nil
}

func (a *api) readMessages(messages protoreflect.MessageDescriptors, options optionReader) error {
	for i := range messages.Len() {
		message := messages.Get(i)
		if err := a.readMessages(message.Messages(), options); err != nil {
			return err
		}
		rules := map[string]fieldRule{}
		for j := range message.Fields().Len() {
			field := message.Fields().Get(j)
			rule, err := options.of(field, fieldOption)
			if err != nil {
				return err
			}
			if rule.m != nil {
				rules[field.JSONName()] = fieldRule{rule.bool("phi"), rule.bool("secret"), rule.bool("server_set"), rule.enum("permission")}
			}
		}
		a.fields[string(message.FullName())] = rules
	}
	return nil
}

// optionReader reads extensions that this program has no Go code for.
type optionReader struct{ types *dynamicpb.Types }

type optionValue struct{ m protoreflect.Message }

func (r optionReader) of(d protoreflect.Descriptor, extension protoreflect.FullName) (optionValue, error) {
	raw, err := proto.Marshal(d.Options())
	if err != nil {
		return optionValue{}, fmt.Errorf("options of %s: %w", d.FullName(), err)
	}
	known := d.Options().ProtoReflect().New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: r.types}).Unmarshal(raw, known); err != nil {
		return optionValue{}, fmt.Errorf("options of %s: %w", d.FullName(), err)
	}
	found := optionValue{}
	known.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.FullName() == extension {
			found.m = value.Message()
		}
		return true
	})
	return found, nil
}

func (v optionValue) bool(name protoreflect.Name) bool {
	return v.m != nil && v.m.Get(v.m.Descriptor().Fields().ByName(name)).Bool()
}

// enum returns the name of the value, "" where it is unset.
func (v optionValue) enum(name protoreflect.Name) string {
	if v.m == nil {
		return ""
	}
	field := v.m.Descriptor().Fields().ByName(name)
	number := v.m.Get(field).Enum()
	value := field.Enum().Values().ByNumber(number)
	if number == 0 || value == nil {
		return ""
	}
	return string(value.Name())
}
