// Package jsonpatch applies a JSON Patch (RFC 6902) to a stored document. What the patch
// does not touch keeps its bytes: numbers their digits, strings their escapes, objects
// their order and white space. It knows no FHIR.
package jsonpatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// Limits of a patch.
const (
	MaxBytes      = 1 << 20
	MaxOperations = 200
	// MaxResult bounds what a patch makes: copies of copies grow without bound.
	MaxResult = 4 << 20
	// MaxNodes bounds the values (objects, lists and scalars) of a document and all that a patch adds
	// to it: taken apart, one costs about 200 bytes of memory, however few it has itself.
	MaxNodes = 200_000
)

// Reasons why a patch is refused.
const (
	ReasonMalformed = "PATCH_MALFORMED"
	ReasonLimit     = "PATCH_TOO_LARGE"
	ReasonPath      = "PATCH_PATH_UNKNOWN"
	ReasonFrozen    = "PATCH_PATH_FROZEN"
	ReasonTest      = "PATCH_TEST_FAILED"
)

// Patch is a list of operations that is well formed.
type Patch []operation

type operation struct {
	op         string
	path, from []string
	value      []byte // of add, replace and test
}

// refuse is an error about one operation. It names it by its place: its path may
// hold what nobody should see in a log.
func refuse(kind errs.Kind, reason string, at int, text string) error {
	return errs.New(kind, reason, fmt.Sprintf("The patch is not applied: operation %d %s.", at, text)).
		WithField(fmt.Sprintf("[%d]", at), text)
}

// Parse reads a patch.
func Parse(raw []byte) (Patch, error) {
	if err := strictjson.Check(raw, MaxBytes); err != nil {
		var f *strictjson.Fault
		if errors.As(err, &f) && f.Reason == strictjson.ReasonTooLarge {
			return nil, errs.New(errs.KindTooLarge, ReasonLimit, fmt.Sprintf("A patch may have %d bytes.", MaxBytes))
		}
		return nil, errs.New(errs.KindInvalid, ReasonMalformed, "The patch cannot be read: "+err.Error()+".")
	}
	root := gjson.ParseBytes(raw)
	if !root.IsArray() {
		return nil, errs.New(errs.KindInvalid, ReasonMalformed, "A JSON Patch is a list of operations.")
	}
	list := root.Array()
	if len(list) > MaxOperations {
		return nil, errs.New(errs.KindTooLarge, ReasonLimit, fmt.Sprintf("A patch may have %d operations.", MaxOperations))
	}
	out := make(Patch, len(list))
	for i, r := range list {
		var problem string
		if out[i], problem = parse(r); problem != "" {
			return nil, refuse(errs.KindInvalid, ReasonMalformed, i, problem)
		}
	}
	return out, nil
}

// parse reads one operation; problem says what is wrong with it.
func parse(r gjson.Result) (o operation, problem string) {
	if !r.IsObject() {
		return o, "must be an object"
	}
	value := r.Get("value")
	o.op = r.Get("op").Str
	switch o.op {
	case "add", "replace", "test":
		if !value.Exists() {
			return o, "lacks its value"
		}
		o.value = []byte(value.Raw)
	case "move", "copy":
		if o.from, problem = pointer(r.Get("from")); problem != "" {
			return o, "has no valid from: " + problem
		}
	case "remove":
	default:
		return o, "has no op of RFC 6902: add, remove, replace, move, copy or test"
	}
	if o.path, problem = pointer(r.Get("path")); problem != "" {
		return o, "has no valid path: " + problem
	}
	return o, ""
}

// pointer reads a JSON Pointer (RFC 6901).
func pointer(r gjson.Result) (tokens []string, problem string) {
	switch {
	case r.Type != gjson.String:
		return nil, "it must be a string"
	case r.Str == "":
		return nil, ""
	case r.Str[0] != '/':
		return nil, "it must begin with /"
	}
	tokens = strings.Split(r.Str[1:], "/")
	if len(tokens) > strictjson.MaxDepth {
		return nil, "it is too deep"
	}
	for i, t := range tokens {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(t), "~") {
			return nil, "~ must be followed by 0 or 1"
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, ""
}

// Apply changes a document, all of the patch or nothing. Members of the document itself
// that are frozen cannot be changed; testing and copying them is allowed.
func (p Patch) Apply(doc []byte, frozen ...string) ([]byte, error) {
	if err := strictjson.Check(doc, MaxResult); err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, ReasonMalformed, "The document cannot be patched: it is no JSON that is taken here.")
	}
	t, err := newTree(doc)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindTooLarge, ReasonLimit, fmt.Sprintf("The document has more than %d values, too many for a patch: replace it with PUT.", MaxNodes))
	}
	for i, o := range p {
		if o.changes(frozen) {
			return nil, refuse(errs.KindInvalid, ReasonFrozen, i, "changes what cannot be changed: "+strings.Join(frozen, ", "))
		}
		err := t.apply(o)
		switch {
		case errors.Is(err, errTest):
			return nil, refuse(errs.KindPrecondition, ReasonTest, i, "tests for a value that is not there")
		case errors.Is(err, errLimit):
			return nil, refuse(errs.KindTooLarge, ReasonLimit, i, "makes the document too large or too deep")
		case err != nil:
			return nil, refuse(errs.KindInvalid, ReasonPath, i, "names a place that is not there")
		}
	}
	out := t.bytes()
	if err := strictjson.Check(out, MaxResult); err != nil {
		return nil, errs.Wrap(err, errs.KindTooLarge, ReasonLimit, "The patch makes the document too large or too deep.")
	}
	return out, nil
}

// changes reports whether an operation changes a frozen member, or the whole document.
func (o operation) changes(frozen []string) bool {
	touches := func(path []string) bool { return len(path) == 0 || len(path) >= 1 && slices.Contains(frozen, path[0]) }
	switch o.op {
	case "test":
		return false
	case "move":
		return len(frozen) > 0 && (touches(o.path) || touches(o.from))
	}
	return len(frozen) > 0 && touches(o.path)
}
