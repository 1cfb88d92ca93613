package fhirapi

import (
	"errors"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/narrative"
	"github.com/carekeep/carekeep/services/records/internal/jsonpatch"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// check refuses content that is no JSON object of the type. Whether it is a good resource
// internal/interact asks, which knows the chart it is to stand in.
func check(resourceType string, content []byte) error {
	if !fhir.Stored(resourceType) {
		return errType
	}
	if err := wellFormed(content, MaxResourceBytes); err != nil {
		return err
	}
	if found := gjson.GetBytes(content, "resourceType"); found.Type != gjson.String || found.Str != resourceType {
		return errs.New(errs.KindInvalid, "TYPE_MISMATCH", "The resource is not of the type that the URL names.").
			WithField("resourceType", "must be the type in the URL")
	}
	return nil
}

// wellFormed refuses what is no JSON object, or JSON that readers understand differently.
func wellFormed(content []byte, limit int) error {
	err := strictjson.Check(content, limit)
	var fault *strictjson.Fault
	switch {
	case errors.As(err, &fault):
		return errs.New(errs.KindInvalid, fault.Reason, "The body is not taken: "+fault.Text+".")
	case err != nil:
		return err
	case !gjson.ParseBytes(content).IsObject():
		return errs.New(errs.KindInvalid, strictjson.ReasonMalformed, "The body is not a JSON object.")
	}
	return nil
}

// shown is a document as clients get it: as it came, but for what must not stand in a narrative.
func shown(doc []byte) []byte {
	out, _ := narrative.Sanitize(doc)
	return out
}

// patched applies a JSON Patch.
func patched(doc, operations []byte) ([]byte, error) {
	p, err := jsonpatch.Parse(operations)
	if err != nil {
		return nil, err
	}
	return p.Apply(doc, "resourceType", "id")
}
