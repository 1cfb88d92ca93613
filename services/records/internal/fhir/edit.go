package fhir

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// edit changes single elements of a FHIR document and leaves every other byte as
// it was. It keeps its first error.
type edit struct {
	doc []byte
	err error
}

func (e *edit) get(path string) gjson.Result { return gjson.GetBytes(e.doc, path) }

// set writes a string, bool or number at path.
func (e *edit) set(path string, value any) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		e.fail(err)
		return
	}
	e.setRaw(path, bytes.TrimRight(raw.Bytes(), "\n"))
}

// setRaw writes JSON at path.
func (e *edit) setRaw(path string, raw []byte) {
	if e.err != nil {
		return
	}
	out, err := sjson.SetRawBytes(e.doc, path, raw)
	if err != nil {
		e.fail(err)
		return
	}
	e.doc = out
}

// setOrRemove writes a string, or removes the element where the string is empty:
// FHIR knows no empty strings.
func (e *edit) setOrRemove(path, value string) {
	if value == "" {
		e.remove(path)
		return
	}
	e.set(path, value)
}

// remove takes an element out, and every parent that would be left empty, which
// FHIR forbids.
func (e *edit) remove(path string) {
	for path != "" && e.err == nil {
		if !e.get(path).Exists() {
			return
		}
		out, err := sjson.DeleteBytes(e.doc, path)
		if err != nil {
			e.fail(err)
			return
		}
		e.doc = out
		at := strings.LastIndexByte(path, '.')
		if at < 0 {
			return
		}
		path = path[:at]
		if len(bytes.Trim([]byte(e.get(path).Raw), "{}[] \t\r\n")) > 0 {
			return
		}
	}
}

func (e *edit) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// element maps one element of a FHIR list to a message and back.
type element[T any] struct {
	view func(gjson.Result) (T, bool) // false: not of this view, to be left alone
	same func(a, b T) bool
	make func(T) ([]byte, error)
}

// list returns the elements of a FHIR list that are of this view.
func (m element[T]) list(found gjson.Result) []T {
	var out []T
	if found.IsArray() {
		found.ForEach(func(_, item gjson.Result) bool {
			if v, ok := m.view(item); ok {
				out = append(out, v)
			}
			return true
		})
	}
	return out
}

// replace makes the elements of this view those that are wanted. Elements that
// are none of the view's keep their bytes, and so does each wanted one that was there.
func (m element[T]) replace(e *edit, path string, wanted []T) {
	var others, ours []gjson.Result
	var views []T
	if found := e.get(path); found.IsArray() {
		found.ForEach(func(_, item gjson.Result) bool {
			if v, ok := m.view(item); ok {
				ours, views = append(ours, item), append(views, v)
			} else {
				others = append(others, item)
			}
			return true
		})
	}
	if m.equal(views, wanted) {
		return
	}
	parts := make([][]byte, 0, len(others)+len(wanted))
	for _, item := range others {
		parts = append(parts, []byte(item.Raw))
	}
	for _, w := range wanted {
		parts = append(parts, m.raw(e, w, views, ours))
	}
	if len(parts) == 0 {
		e.remove(path)
		return
	}
	e.setRaw(path, append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']'))
}

func (m element[T]) equal(a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !m.same(a[i], b[i]) {
			return false
		}
	}
	return true
}

func (m element[T]) raw(e *edit, wanted T, views []T, items []gjson.Result) []byte {
	for i, v := range views {
		if m.same(v, wanted) {
			return []byte(items[i].Raw)
		}
	}
	raw, err := m.make(wanted)
	if err != nil {
		e.fail(err)
	}
	return raw
}
