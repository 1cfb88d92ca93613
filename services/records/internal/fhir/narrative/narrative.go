// Package narrative makes the XHTML of FHIR narratives (Narrative.div) safe to show.
// Documents are stored as they came; what a client gets is sanitised on read. What R4
// allows in a narrative, and is harmless, is not touched.
package narrative

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"

	"github.com/microcosm-cc/bluemonday"
	"github.com/tidwall/gjson"
)

// Sanitize makes every narrative of a stored document safe: its own, those of what it
// contains, and those of sections. Where all are safe already, which is what R4 demands of
// their author, out is doc itself, byte for byte, and changed is false.
func Sanitize(doc []byte) (out []byte, changed bool) {
	if !bytes.Contains(doc, []byte(`div"`)) && !bytes.Contains(doc, []byte(`\u00`)) { // a key may be written with escapes
		return doc, false
	}
	root := gjson.ParseBytes(doc)
	root.Index = len(doc) - len(root.Raw) // what stands before it; gjson leaves it out
	var found []gjson.Result
	find(root, &found)
	last := 0
	for _, div := range found {
		text := div.String()
		if div.Type == gjson.String && Safe(text) {
			continue
		}
		out = append(append(out, doc[last:div.Index]...), quoted(clean(text))...)
		last, changed = div.Index+len(div.Raw), true
	}
	if !changed {
		return doc, false
	}
	return append(out, doc[last:]...), true
}

// find takes down the member div of every object, in the document's order: R4 has
// no other element of that name.
func find(v gjson.Result, found *[]gjson.Result) {
	if !v.IsObject() && !v.IsArray() {
		return
	}
	v.ForEach(func(key, value gjson.Result) bool {
		if v.IsObject() && key.Str == "div" {
			*found = append(*found, value)
		} else {
			find(value, found)
		}
		return true
	})
}

func quoted(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return []byte(`""`)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

const (
	xhtml = "http://www.w3.org/1999/xhtml"
	open  = `<div xmlns="` + xhtml + `">`
	shut  = `</div>`
)

// clean takes out of a narrative what is not allowed. What cannot be made well-formed
// so is left as its bare text.
func clean(text string) string {
	out := policy.Sanitize(text)
	if Safe(out) {
		return out
	}
	// StrictPolicy escapes the text it leaves.
	out = open + bluemonday.StrictPolicy().Sanitize(text) + shut
	if Safe(out) {
		return out
	}
	return open + shut
}

// elements are those that R4 2.4.1 allows in a narrative: the formatting elements of
// HTML 4.0's chapters 7 to 11 and 15, links and images, and nothing that is deprecated.
var elements = []string{
	"div", "span", "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "address", "bdo", "blockquote", "q", "pre",
	"em", "strong", "dfn", "code", "samp", "kbd", "var", "cite", "abbr", "acronym", "sub", "sup", "ins", "del",
	"ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead", "tfoot", "tbody", "colgroup", "col", "tr", "th", "td",
	"tt", "i", "b", "big", "small", "a", "img",
}

// attributes of any element, and of some.
var (
	attributes  = []string{"id", "class", "title", "lang", "dir"}
	attributeOf = map[string][]string{
		"a":     {"href", "name"},
		"img":   {"src", "alt", "width", "height"},
		"table": {"summary", "width", "border", "cellspacing", "cellpadding"}, "col": tableCell, "colgroup": tableCell,
		"tr": tableCell, "th": tableCell, "td": tableCell, "thead": tableCell, "tbody": tableCell, "tfoot": tableCell,
		"blockquote": {"cite"}, "q": {"cite"}, "ins": {"cite", "datetime"}, "del": {"cite", "datetime"},
	}
	tableCell = []string{"align", "valign", "colspan", "rowspan", "span", "width", "abbr", "axis", "headers", "scope", "char", "charoff"}
)

// What addresses may say. An image on another server would tell that server who reads
// which chart, so it is taken out; R4 has images in the resource itself for that.
var (
	link  = regexp.MustCompile(`^(?i:https?://|mailto:|tel:|#)[^\s\\]*$|^[A-Za-z]+/[A-Za-z0-9.\-]+$`)
	image = regexp.MustCompile(`^#[A-Za-z0-9.\-]+$|^data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*$`)
	plain = regexp.MustCompile(`^[^<>&\\]*$`)
)

// value returns what the value of an attribute must match; nil where the element
// does not have the attribute.
func value(element, attribute string) *regexp.Regexp {
	if !slices.Contains(attributes, attribute) && !slices.Contains(attributeOf[element], attribute) {
		return nil
	}
	switch attribute {
	case "href", "cite":
		return link
	case "src":
		return image
	}
	return plain
}

// policy is the same rules for the library. Attributes of style are safe only if their CSS
// is parsed; where something else had to go they go too.
var policy = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements(elements...)
	p.AllowNoAttrs().OnElements(elements...)
	p.AllowAttrs("xmlns").Matching(regexp.MustCompile("^" + regexp.QuoteMeta(xhtml) + "$")).OnElements("div")
	p.AllowURLSchemes("http", "https", "mailto", "tel", "data")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	for _, e := range elements {
		for _, a := range append(slices.Clone(attributes), attributeOf[e]...) {
			p.AllowAttrs(a).Matching(value(e, a)).OnElements(e)
		}
	}
	return p
}()
