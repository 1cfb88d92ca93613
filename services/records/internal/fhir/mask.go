package fhir

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/carekeep/carekeep/libs/errs"
)

// outputOnly are the fields that the server sets. A mask may name them, as clients
// that derive masks from bodies do; they change nothing.
var outputOnly = []string{"name", "create_time", "update_time", "etag"}

// Fields returns the fields of view that an update changes. An empty mask means
// every field that is set, "*" every field there is (AIP-134).
func Fields(view proto.Message, mask []string) ([]string, error) {
	m := view.ProtoReflect()
	fields := m.Descriptor().Fields()
	var out []string
	add := func(f protoreflect.FieldDescriptor) {
		name := string(f.Name())
		if !slices.Contains(outputOnly, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if len(mask) == 0 || slices.Contains(mask, "*") {
		for i := range fields.Len() {
			if f := fields.Get(i); len(mask) > 0 || m.Has(f) {
				add(f)
			}
		}
		return out, nil
	}
	for _, path := range mask {
		f := fields.ByName(protoreflect.Name(path))
		if f == nil {
			return nil, errs.New(errs.KindInvalid, "UPDATE_MASK_INVALID",
				"The update mask names a field that this resource does not have; name top-level fields, such as those of the response.").
				WithField("update_mask", "unknown field")
		}
		add(f)
	}
	return out, nil
}

// invalid is a view that cannot become a FHIR resource.
func invalid(field, description string) error {
	return errs.New(errs.KindInvalid, "FIELD_INVALID", "A field has a value that FHIR does not allow.").
		WithField(field, description)
}
