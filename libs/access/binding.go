package access

import (
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Binding is one way to an RPC over HTTP, as its google.api.http option says.
type Binding struct {
	// Method is the HTTP method, Template the path with its variables. Body names the field
	// that the body fills, "*" for all.
	Method, Template, Body string
}

// Bindings returns the ways to an RPC over HTTP, none where it has no such option.
// Method is empty where the option has a kind of binding that is not known here.
func Bindings(method protoreflect.MethodDescriptor) []Binding {
	if !proto.HasExtension(method.Options(), annotations.E_Http) {
		return nil
	}
	rule := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	var out []Binding
	for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		verb, template := split(b)
		out = append(out, Binding{Method: verb, Template: template, Body: b.GetBody()})
	}
	return out
}

func split(b *annotations.HttpRule) (method, template string) {
	switch p := b.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	}
	return "", ""
}
