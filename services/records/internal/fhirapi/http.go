package fhirapi

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/libs/route"
)

// Path is where the API is.
const Path = "/fhir/R4"

// Invoker runs an interaction as its RPC (libs/server).
type Invoker interface {
	Invoke(r *http.Request, fullMethod string, request proto.Message,
		next func(context.Context, proto.Message) (proto.Message, error)) (proto.Message, error)
}

// Limits bound bodies, in bytes. Zero means the default.
type Limits struct {
	ResourceBytes int64 `yaml:"resource_bytes"` // 2 MiB
	BundleBytes   int64 `yaml:"bundle_bytes"`   // 8 MiB
}

// The most that the messages of FhirService take.
const (
	MaxResourceBytes = 2 << 20
	MaxBundleBytes   = 16 << 20
)

const (
	defaultResourceBytes = 2 << 20
	defaultBundleBytes   = 8 << 20
	formBytes            = 16 << 10
)

func (l Limits) withDefaults() Limits {
	if l.ResourceBytes == 0 {
		l.ResourceBytes = defaultResourceBytes
	}
	if l.BundleBytes == 0 {
		l.BundleBytes = defaultBundleBytes
	}
	return l
}

// handler speaks FHIR's HTTP.
type handler struct {
	invoke Invoker
	table  route.Table
	base   string
	verbs  map[string]verb
}

// verb is how the HTTP of one interaction becomes its RPC.
type verb struct {
	// takes are the media types of the body, none where there is none; limit its size.
	takes []string
	limit int64
	// query are the parameters that may stand in the URL, besides _format.
	query []string
	// refuses are parameters that the standard has here and that are refused by their name. No other name
	// is repeated: who mistypes a URL may have put a patient's name there.
	refuses []string
	// gives is the media type of the answer where it is no resource.
	gives string
	// empty is a request of the RPC without content, build makes it of the input; run calls the RPC.
	empty func() proto.Message
	build func(*input) (proto.Message, error)
	run   func(context.Context, proto.Message) (proto.Message, error)
}

// input is one HTTP request, read.
type input struct {
	*http.Request
	values map[string]string
	query  url.Values
	body   []byte
}

// Handler serves the HTTP of the service. Every request runs through the invoker.
func Handler(s *Service, invoke Invoker, limits Limits) http.Handler {
	service := recordsv1.File_carekeep_records_v1_fhir_proto.Services().ByName("FhirService")
	return &handler{invoke: invoke, table: route.Of(service), base: s.Base, verbs: verbs(s, limits.withDefaults())}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	found, values, allowed := h.table.Find(r.Method, r.URL.EscapedPath())
	if found.RPC == "" {
		noRoute(w, r, allowed)
		return
	}
	v := h.verbs[found.RPC]
	in, err := v.read(r, values)
	if err != nil {
		h.malformed(w, r, found.RPC, err)
		return
	}
	request, err := v.build(in)
	if err != nil {
		h.malformed(w, r, found.RPC, err)
		return
	}
	response, err := h.invoke.Invoke(r, found.RPC, request, v.run)
	if err != nil {
		outcome.Write(w, err)
		return
	}
	if v.gives != "" {
		w.Header().Set("Content-Type", v.gives)
	}
	h.reply(w, r, response.(*recordsv1.FhirAnswer))
}

// malformed answers a request that makes no RPC. It runs through the chain with an empty one, so that who calls is
// asked first, and a known caller's attempt leaves its FAILED event as with any RPC.
func (h *handler) malformed(w http.ResponseWriter, r *http.Request, rpc string, why error) {
	_, err := h.invoke.Invoke(r, rpc, h.verbs[rpc].empty(), func(context.Context, proto.Message) (proto.Message, error) { return nil, why })
	switch errs.KindOf(err) {
	case errs.KindUnauthenticated, errs.KindDenied, errs.KindUnavailable:
		why = err
	}
	outcome.Write(w, why)
}

var (
	errRoute  = errs.New(errs.KindNotFound, "ROUTE_UNKNOWN", "There is no such interaction; GET "+Path+"/metadata lists them.")
	errMethod = errs.New(errs.KindUnimplemented, outcome.ReasonMethod, "The path does not take this method; GET "+Path+"/metadata lists the interactions.")
	errSearch = errs.New(errs.KindUnimplemented, outcome.ReasonMethod, "Search with POST to {type}/_search and the parameters in the body: URLs are logged and kept, so no value of a patient may stand in one.")
)

func noRoute(w http.ResponseWriter, r *http.Request, allowed []string) {
	switch {
	case len(allowed) == 0:
		outcome.Write(w, errRoute)
		return
	case r.Method == http.MethodGet && slices.Equal(allowed, []string{http.MethodPost}):
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		outcome.Write(w, errSearch)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	outcome.Write(w, errMethod)
}

// read checks what HTTP says of a request, and reads its body.
func (v verb) read(r *http.Request, values map[string]string) (*input, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "The query of the URL is not well formed.")
	}
	for name, list := range query {
		switch {
		case name == "_format" || slices.Contains(v.query, name):
			if len(list) > 1 {
				return nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "A parameter of the URL stands twice.")
			}
		case slices.Contains(v.refuses, name):
			return nil, errs.New(errs.KindInvalid, "PARAMETER_UNSUPPORTED", "The parameter "+name+" is not supported, and none is ignored; "+known(v.query)).
				WithField(name, "must be left out")
		default:
			return nil, errs.New(errs.KindInvalid, "PARAMETER_UNKNOWN", "A parameter of the URL is not supported here, and none is ignored; "+known(v.query))
		}
	}
	if err := acceptable(r.Header, query, v.gives); err != nil {
		return nil, err
	}
	in := &input{Request: r, values: values, query: query}
	if len(v.takes) == 0 {
		return in, nil
	}
	if err := bodyType(r.Header, v.takes); err != nil {
		return nil, err
	}
	in.body, err = io.ReadAll(io.LimitReader(r.Body, v.limit+1))
	switch {
	case err != nil:
		return nil, errs.Wrap(err, errs.KindInvalid, "BODY_BROKEN_OFF", "The body ended before it was complete.")
	case int64(len(in.body)) > v.limit:
		return nil, errs.New(errs.KindTooLarge, outcome.ReasonBodyTooLarge, "The body is longer than this interaction takes; POST /v1/patients:import takes bundles of any size.")
	}
	return in, nil
}

func known(names []string) string {
	return "known are " + strings.Join(append(slices.Clone(names), "_format"), ", ") + "."
}

// reply writes an answer with the headers that R4 asks for.
func (h *handler) reply(w http.ResponseWriter, r *http.Request, a *recordsv1.FhirAnswer) {
	status := int(a.GetStatus())
	if status == 0 {
		status = http.StatusOK
	}
	head := w.Header()
	h.exportHead(head, a)
	if a.GetVersion() != 0 {
		head.Set("ETag", Etag(a.GetVersion()))
		head.Set("Last-Modified", a.GetUpdateTime().AsTime().UTC().Format(http.TimeFormat))
	}
	if a.GetId() != "" && r.Method != http.MethodGet {
		head.Set("Location", h.base+"/"+a.GetType()+"/"+a.GetId()+"/_history/"+strconv.FormatInt(a.GetVersion(), 10))
	}
	if r.Method == http.MethodGet && a.GetVersion() != 0 && fresh(r.Header, a) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	content := a.GetContent()
	if r.Method != http.MethodGet && a.GetId() != "" {
		content = preferred(r.Header, status, content)
	}
	if len(content) == 0 {
		w.WriteHeader(status)
		return
	}
	if head.Get("Content-Type") == "" {
		head.Set("Content-Type", contentType(r))
	}
	w.WriteHeader(status)
	_, _ = w.Write(content) //nolint:gosec // not HTML: the type is JSON with nosniff
}
