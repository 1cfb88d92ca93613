package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// check walks a decoded configuration: it resolves paths, reads secrets,
// refuses missing settings, and runs the Validate methods from the inside out.
// All findings come out at once, so that one start shows all that is wrong.
func check(into any, folder string) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("load into %T: a pointer to a struct is needed", into)
	}
	w := walker{folder: folder}
	w.visit(v.Elem(), "", nil)
	return errors.Join(w.found...)
}

type walker struct {
	folder string
	found  []error
}

var (
	pathType   = reflect.TypeFor[Path]()
	secretType = reflect.TypeFor[Secret]()
)

func (w *walker) visit(v reflect.Value, key string, tags []string) {
	if slices.Contains(tags, "required") && v.IsZero() {
		w.fail(key, errors.New("this setting is required"))
		return
	}
	if v.Type() == pathType || (v.Kind() == reflect.String && slices.Contains(tags, "path")) {
		if p := v.String(); p != "" && !filepath.IsAbs(p) {
			v.SetString(filepath.Join(w.folder, p))
		}
		return
	}
	if v.Type() == secretType {
		if err := v.Addr().Interface().(*Secret).read(w.folder); err != nil {
			w.fail(key, err)
		}
		return
	}
	w.descend(v, key)
}

func (w *walker) descend(v reflect.Value, key string) {
	switch v.Kind() {
	case reflect.Struct:
		w.fields(v, key)
	case reflect.Pointer:
		if !v.IsNil() {
			w.visit(v.Elem(), key, nil)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			w.visit(v.Index(i), key+"["+strconv.Itoa(i)+"]", nil)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			// Map values cannot be set in place; a copy is visited and put back.
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(it.Value())
			w.visit(item, join(key, fmt.Sprint(it.Key())), nil)
			v.SetMapIndex(it.Key(), item)
		}
	}
}

func (w *walker) fields(v reflect.Value, key string) {
	before := len(w.found)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		at := join(key, name)
		if strings.Contains(options, "inline") {
			at = key
		}
		w.visit(v.Field(i), at, strings.Split(field.Tag.Get("config"), ","))
	}
	// A Validate that sees half-checked fields would only repeat what was found.
	if len(w.found) > before || !v.CanAddr() {
		return
	}
	if c, ok := v.Addr().Interface().(Validator); ok {
		if err := c.Validate(); err != nil {
			w.fail(key, err)
		}
	}
}

func (w *walker) fail(key string, err error) {
	if key != "" {
		err = fmt.Errorf("%s: %w", key, err)
	}
	w.found = append(w.found, err)
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
