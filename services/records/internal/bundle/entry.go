package bundle

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/strictjson"
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
	if err := strictjson.Check(raw, len(raw)); err != nil {
		refuse(ReasonMalformed, "The entry cannot be taken: "+err.Error()+".")
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
