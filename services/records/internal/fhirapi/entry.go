package fhirapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
)

// maxEntries bounds a bundle. Larger ones go through the import, which streams.
const maxEntries = 5000

// entry is one entry of a transaction or a batch.
type entry struct {
	method, fullURL   string
	kind, id, version string
	noneExist         string
	unless            chart.Criteria
	match             int64
	resource          []byte
	rpc               string
	problem           error
}

var (
	errEntryMethod = errs.New(errs.KindUnimplemented, "ENTRY_METHOD_UNSUPPORTED", "Entries take request.method GET, POST, PUT or DELETE.")
	errEntryURL    = errs.New(errs.KindInvalid, "ENTRY_URL_INVALID", "request.url must be the type for POST, type/id for PUT and DELETE, and type/id or type/id/_history/version for GET.")
	errEntryText   = errs.New(errs.KindInvalid, "ENTRY_MALFORMED", "An entry needs request.method and request.url, and for POST and PUT its resource; fullUrl, ifMatch and ifNoneExist are strings.")
)

// parseBundle reads a transaction or batch. An entry that is wrong by itself carries its
// problem: a batch answers each entry for itself.
func parseBundle(content []byte) (kind string, entries []entry, err error) {
	if err := wellFormed(content, MaxBundleBytes); err != nil {
		return "", nil, err
	}
	root := gjson.ParseBytes(content)
	kind = root.Get("type").String()
	switch {
	case root.Get("resourceType").String() != "Bundle":
		return "", nil, errs.New(errs.KindInvalid, "TYPE_MISMATCH", "The body is no Bundle.").WithField("resourceType", "must be Bundle")
	case kind != "transaction" && kind != "batch":
		return "", nil, errs.New(errs.KindInvalid, "BUNDLE_TYPE", "The bundle is neither a transaction nor a batch.").WithField("Bundle.type", "must be transaction or batch")
	}
	list := root.Get("entry")
	if list.Exists() && !list.IsArray() {
		return "", nil, errs.New(errs.KindInvalid, "BUNDLE_MALFORMED", "The bundle's entries are no list.").WithField("Bundle.entry", "must be a list")
	}
	list.ForEach(func(_, item gjson.Result) bool {
		entries = append(entries, parseEntry(item))
		return len(entries) <= maxEntries
	})
	if len(entries) > maxEntries {
		return "", nil, errs.New(errs.KindTooLarge, "BUNDLE_TOO_LONG", fmt.Sprintf("A bundle holds at most %d entries; POST /v1/patients:import takes more.", maxEntries))
	}
	return kind, entries, nil
}

func parseEntry(item gjson.Result) entry {
	request, resource := item.Get("request"), item.Get("resource")
	e := entry{method: request.Get("method").String()}
	for path, into := range map[string]*string{"fullUrl": &e.fullURL, "request.ifNoneExist": &e.noneExist} {
		found := item.Get(path)
		if found.Exists() && found.Type != gjson.String {
			e.problem = errEntryText
			return e
		}
		*into = found.Str
	}
	url := request.Get("url")
	e.rpc, e.problem = rpcOf(e.method)
	if e.problem == nil {
		e.problem = e.locate(url)
	}
	if e.problem == nil {
		e.problem = e.matched(request.Get("ifMatch"))
	}
	if wants := e.method == http.MethodPost || e.method == http.MethodPut; e.problem == nil && wants != resource.IsObject() {
		e.problem = errEntryText
	}
	if resource.IsObject() {
		e.resource = []byte(resource.Raw)
	}
	if e.version != "" {
		e.rpc = recordsv1.FhirService_ReadVersion_FullMethodName
	}
	return e
}

func rpcOf(method string) (string, error) {
	rpc, ok := map[string]string{
		http.MethodGet: recordsv1.FhirService_Read_FullMethodName, http.MethodPost: recordsv1.FhirService_Create_FullMethodName,
		http.MethodPut: recordsv1.FhirService_Update_FullMethodName, http.MethodDelete: recordsv1.FhirService_Delete_FullMethodName,
	}[method]
	if !ok {
		return "", errEntryMethod
	}
	return rpc, nil
}

// locate reads request.url. Searches and conditional changes are refused, not ignored.
func (e *entry) locate(url gjson.Result) error {
	parts := strings.Split(strings.TrimPrefix(url.Str, "/"), "/")
	switch {
	case url.Type != gjson.String || strings.Contains(url.Str, "?"):
		return errEntryURL
	case e.method == http.MethodPost && len(parts) == 1:
		e.kind = parts[0]
	case e.method != http.MethodPost && len(parts) == 2:
		e.kind, e.id = parts[0], parts[1]
	case e.method == http.MethodGet && len(parts) == 4 && parts[2] == "_history":
		e.kind, e.id, e.version = parts[0], parts[1], parts[3]
	default:
		return errEntryURL
	}
	return nil
}

func (e *entry) matched(found gjson.Result) error {
	if !found.Exists() {
		return nil
	}
	if found.Type != gjson.String || e.method != http.MethodPut && e.method != http.MethodDelete {
		return errEntryText
	}
	var err error
	e.match, err = match(http.Header{"If-Match": {found.Str}})
	return err
}

var errConditional = errs.New(errs.KindInvalid, "REFERENCE_CONDITIONAL", "References by search (type?parameters) are not supported: name the resource.")

// relink replaces references to other entries by what these become, and leaves every other
// byte as it is.
func relink(doc []byte, links map[string]string) ([]byte, error) {
	type place struct {
		at, length int
		text       string
	}
	var places []place
	var failed error
	var walk func(gjson.Result)
	walk = func(v gjson.Result) {
		v.ForEach(func(key, value gjson.Result) bool {
			switch {
			case value.IsObject() || value.IsArray():
				walk(value)
			case key.Str != "reference" || value.Type != gjson.String:
			case links[value.Str] != "":
				places = append(places, place{value.Index, len(value.Raw), links[value.Str]})
			case strings.Contains(value.Str, "?"):
				failed = errConditional
			}
			return true
		})
	}
	walk(gjson.ParseBytes(doc))
	if failed != nil || len(places) == 0 {
		return doc, failed
	}
	out := make([]byte, 0, len(doc)+16*len(places))
	from := 0
	for _, p := range places {
		out = append(append(out, doc[from:p.at]...), quote(p.text)...)
		from = p.at + p.length
	}
	return append(out, doc[from:]...), nil
}
