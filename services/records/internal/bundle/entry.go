package bundle

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// read takes an entry apart. raw is valid JSON in UTF-8.
func (e *Entry) read(raw []byte) {
	refuse := func(reason, message string) {
		*e = Entry{Index: e.Index, Problem: &Problem{reason, message}}
	}
	if raw[0] != '{' {
		refuse(ReasonMalformed, "The entry must be a JSON object.")
		return
	}
	// Readers differ on which of two equal keys counts, so an entry could be checked
	// as one thing and read as another.
	if duplicate(raw) {
		refuse(ReasonMalformed, "An object in the entry has the same key twice; keep one.")
		return
	}
	root := gjson.ParseBytes(raw)
	resource, request := root.Get("resource"), root.Get("request")
	switch {
	case !resource.IsObject():
		refuse(ReasonMalformed, "The entry lacks its resource, a JSON object.")
		return
	case request.Exists() && !request.IsObject(), !text(root, "fullUrl"), !text(request, "method"), !text(request, "url"):
		refuse(ReasonMalformed, "fullUrl, request.method and request.url must be strings, request an object.")
		return
	}
	e.FullURL = root.Get("fullUrl").Str
	e.Method, e.URL = request.Get("method").Str, request.Get("url").Str
	switch {
	case e.Method != "" && e.Method != http.MethodPost && e.Method != http.MethodPut:
		refuse(ReasonMethod, "An import takes entries with request.method POST or PUT only.")
	case request.Get("ifMatch").Exists() || strings.Contains(e.URL, "?"):
		refuse(ReasonMethod, "An import takes no conditional requests; leave out ifMatch and search parameters.")
	default:
		at := resource.Index
		e.Resource = raw[at : at+len(resource.Raw)]
	}
}

// text reports whether a member is a string where it exists.
func text(object gjson.Result, key string) bool {
	v := object.Get(key)
	return !v.Exists() || v.Type == gjson.String
}

// duplicate reports whether any object in valid JSON has a key twice.
func duplicate(raw []byte) bool {
	d := &keyCheck{raw: raw}
	d.value()
	return d.found
}

// keyCheck walks valid JSON once. The keys of all open objects stand on one stack.
type keyCheck struct {
	raw   []byte
	pos   int
	keys  [][]byte
	found bool
}

// many is the number of keys from which on a map is quicker than a look at each.
const many = 24

func (d *keyCheck) value() {
	d.space()
	switch d.raw[d.pos] {
	case '{':
		d.object()
	case '[':
		d.pos++
		for d.space(); d.raw[d.pos] != ']'; d.space() {
			if d.raw[d.pos] == ',' {
				d.pos++
				continue
			}
			d.value()
		}
		d.pos++
	case '"':
		d.text()
	default:
		for d.pos < len(d.raw) && !bytes.ContainsRune([]byte(",]} \t\r\n"), rune(d.raw[d.pos])) {
			d.pos++
		}
	}
}

func (d *keyCheck) object() {
	first := len(d.keys)
	var seen map[string]bool
	d.pos++
	for d.space(); d.raw[d.pos] != '}'; d.space() {
		if d.raw[d.pos] == ',' {
			d.pos++
			continue
		}
		key := d.text()
		if bytes.IndexByte(key, '\\') >= 0 {
			var plain string
			if json.Unmarshal(key, &plain) == nil {
				key = []byte(`"` + plain + `"`)
			}
		}
		seen = d.note(key, first, seen)
		d.space()
		d.pos++ // the colon
		d.value()
	}
	d.pos++
	d.keys = d.keys[:first]
}

// note remembers a key of the innermost object, whose keys begin at first.
func (d *keyCheck) note(key []byte, first int, seen map[string]bool) map[string]bool {
	if seen != nil {
		d.found = d.found || seen[string(key)]
		seen[string(key)] = true
		return seen
	}
	for _, k := range d.keys[first:] {
		if bytes.Equal(k, key) {
			d.found = true
		}
	}
	d.keys = append(d.keys, key)
	if len(d.keys)-first < many {
		return nil
	}
	seen = make(map[string]bool, 2*many)
	for _, k := range d.keys[first:] {
		seen[string(k)] = true
	}
	return seen
}

// text consumes a string and returns it with its quotes.
func (d *keyCheck) text() []byte {
	start := d.pos
	for d.pos++; d.raw[d.pos] != '"'; d.pos++ {
		if d.raw[d.pos] == '\\' {
			d.pos++
		}
	}
	d.pos++
	return d.raw[start:d.pos]
}

func (d *keyCheck) space() {
	for d.raw[d.pos] == ' ' || d.raw[d.pos] == '\n' || d.raw[d.pos] == '\t' || d.raw[d.pos] == '\r' {
		d.pos++
	}
}
