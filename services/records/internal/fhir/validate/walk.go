package validate

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// object is what is known of an object that is being read.
type object struct {
	t       *typ
	keys    int
	present uint64 // of t.required
	choices []*field
	gaps    []*field // lists with a null, which must be filled from beside
	media   attachment
}

// resource reads a resource of a type.
func (c *checker) resource(t *typ) error {
	named := c.r.Kind() != strictjson.Object // which is an issue of its own
	err := c.object(t, func(key []byte) (bool, error) {
		if string(key) != "resourceType" {
			return false, nil
		}
		named = true
		if c.r.Kind() != strictjson.Text {
			c.issue(ReasonType, "resourceType must be a string")
			return true, c.r.Skip()
		}
		name, err := c.r.Text()
		if err == nil && string(name) != t.name {
			c.issue(ReasonType, "resourceType is another one than expected here: "+t.name)
		}
		return true, err
	})
	if err == nil && !named {
		c.issue(ReasonType, "resourceType is missing")
	}
	return err
}

// anyResource reads a resource within another one.
func (c *checker) anyResource() error {
	if c.r.Kind() != strictjson.Object {
		c.issue(ReasonShape, "must be a resource, an object")
		return c.r.Skip()
	}
	t := types()[gjson.GetBytes(c.r.Rest(), "resourceType").Str]
	switch {
	case t == nil || !t.resource:
		c.issue(ReasonType, "FHIR R4 has no resource of this resourceType")
		return c.r.Skip()
	case c.contained > 0:
		c.issue(ReasonUnknown, "a contained resource must not contain others")
		return c.r.Skip()
	}
	c.contained++
	err := c.resource(t)
	c.contained--
	return err
}

// object reads an object of a type. Keys that first takes are none of the type's.
func (c *checker) object(t *typ, first func(key []byte) (bool, error)) error {
	if c.r.Kind() != strictjson.Object {
		c.issue(ReasonShape, "must be an object")
		return c.r.Skip()
	}
	o := &object{t: t}
	start := c.r.Rest()
	err := c.r.Object(func(key []byte) error {
		o.keys++
		if first != nil {
			if taken, err := first(key); taken || err != nil {
				return err
			}
		}
		f := t.fields[string(key)]
		if f == nil {
			return c.unknown(t, key, o.keys)
		}
		c.note(o, f)
		return c.under(f.name, func() error { return c.field(o, f) })
	})
	if err != nil {
		return err
	}
	c.finish(o, start)
	return nil
}

// note takes down that an object has an element.
func (c *checker) note(o *object, f *field) {
	if f.need >= 0 {
		o.present |= 1 << f.need
	}
	if f.choice == "" {
		return
	}
	for _, other := range o.choices {
		if other.choice == f.choice && other.name != f.name {
			c.issue(ReasonChoice, fmt.Sprintf("%s and %s are two types of the choice %s[x]: keep one", other.name, f.name, f.choice))
			return
		}
	}
	o.choices = append(o.choices, f)
}

// finish checks what only the whole object shows. start begins with the object.
func (c *checker) finish(o *object, start []byte) {
	if o.keys == 0 {
		c.issue(ReasonShape, "is empty: leave it out instead")
		return
	}
	for i, name := range o.t.required {
		if o.present&(1<<i) == 0 {
			_ = c.under(name, func() error {
				c.issue(ReasonMissing, "R4 requires this element")
				return nil
			})
		}
	}
	for _, f := range o.gaps {
		if !filled(start, f.name) {
			_ = c.under(f.name, func() error {
				c.issue(ReasonShape, "an item is null, and no extension stands for it at its place: leave the item out instead")
				return nil
			})
		}
	}
	c.attachment(o)
}

// filled reports whether, of the two lists that a primitive element can have, one
// has a value wherever the other has null (R4 2.6.2.3).
func filled(object []byte, name string) bool {
	values, beside := gjson.GetBytes(object, name).Array(), gjson.GetBytes(object, "_"+name).Array()
	for i := range max(len(values), len(beside)) {
		if (i >= len(values) || values[i].Type == gjson.Null) && (i >= len(beside) || beside[i].Type == gjson.Null) {
			return false
		}
	}
	return true
}

// field reads the value of an element.
func (c *checker) field(o *object, f *field) error {
	if !f.list {
		return c.value(o, f)
	}
	if c.r.Kind() != strictjson.Array {
		c.issue(ReasonShape, "must be a list")
		return c.r.Skip()
	}
	items, top := 0, len(c.path)-1
	err := c.r.Array(func(i int) error {
		items++
		c.path[top].index = i
		if c.r.Kind() == strictjson.Null && (f.primitive != nil || f.extension) {
			if len(o.gaps) == 0 || o.gaps[len(o.gaps)-1] != f {
				o.gaps = append(o.gaps, f)
			}
			_, err := c.r.Word()
			return err
		}
		return c.value(o, f)
	})
	if err != nil {
		return err
	}
	c.path[top].index = -1
	if items == 0 {
		c.issue(ReasonShape, "is an empty list: leave it out instead")
	}
	return nil
}

func (c *checker) value(o *object, f *field) error {
	switch {
	case c.r.Kind() == strictjson.Null:
		c.issue(ReasonShape, "is null: leave it out instead")
		return c.r.Skip()
	case f.any:
		return c.anyResource()
	case f.of != nil:
		return c.object(f.of, nil)
	}
	return c.primitive(o, f)
}

func (c *checker) primitive(o *object, f *field) error {
	p := f.primitive
	if c.r.Kind() != p.kind {
		c.issue(ReasonShape, "must be "+p.shape)
		return c.r.Skip()
	}
	var text []byte
	var err error
	switch p.kind {
	case strictjson.Text:
		text, err = c.r.Text()
	case strictjson.Number:
		text, err = c.r.Number()
	default:
		text, err = c.r.Word()
	}
	if err != nil {
		return err
	}
	switch {
	case f.codes != nil:
		if !slices.Contains(f.codes, string(text)) {
			c.issue(ReasonValue, "must be one of "+strings.Join(f.codes, ", "))
		}
	case !p.valid(text):
		c.issue(ReasonValue, "must be "+p.form)
	case f.card != noCards && c.hasCard(f, text):
		c.issue(ReasonCard, cardText)
	default:
		c.special(o, f, text)
	}
	return nil
}

const cardText = "holds what looks like a payment card number, which is not stored here: take it out; payments go through the practice's payment processor"

func (c *checker) hasCard(f *field, text []byte) bool {
	switch {
	case f.primitive == primitives["xhtml"]:
		return f.card.finds(plain(text))
	case f.primitive.kind == strictjson.Number && bytes.ContainsAny(text, ".eE"):
		return false
	}
	return f.card.finds(string(text))
}

// special is what single elements are looked at for.
func (c *checker) special(o *object, f *field, text []byte) {
	switch o.t.name {
	case "Reference":
		if f.name == "reference" {
			c.reference(string(text))
		}
	case "Attachment", "Binary":
		o.media.note(f.name, text)
	}
}
