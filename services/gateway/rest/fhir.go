package rest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/route"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// fhirPath is where the FHIR API is. records speaks its HTTP by itself, since protojson is
// no FHIR; the gateway admits each request for the RPC behind its route and passes it on.
const fhirPath = "/fhir/R4"

// FHIR says how to reach the FHIR API of records.
type FHIR struct {
	Address   string
	Transport http.RoundTripper
}

func isFHIR(path string) bool { return path == fhirPath || strings.HasPrefix(path, fhirPath+"/") }

// The headers that pass, each way. Whatever else a client sends ends here, and whatever
// else records says stays inside.
var (
	fhirIncoming = []string{
		"Accept", "Content-Type", "If-Match", "If-None-Match", "If-Modified-Since", "If-None-Exist", "Prefer",
	}
	fhirOutgoing = []string{
		"Content-Type", "ETag", "Last-Modified", "Location", "Content-Location", "Allow", "Retry-After", "Expires", "X-Progress",
	}
)

// passage passes FHIR requests on.
type passage struct {
	FHIR
	table  route.Table
	limits edge.Limits
	admit  *admitted
}

func newPassage(f FHIR, admit *admitted, limits edge.Limits) *passage {
	service := recordsv1.File_carekeep_records_v1_fhir_proto.Services().ByName("FhirService")
	return &passage{FHIR: f, table: route.Of(service), limits: limits, admit: admit}
}

// serve passes one request on. original has the headers of the client, taken only the session.
func (p *passage) serve(w http.ResponseWriter, original, taken *http.Request) {
	found, _, allowed := p.table.Find(taken.Method, taken.URL.EscapedPath())
	rpc := found.RPC
	if rpc == "" {
		p.refuse(w, taken, allowed)
		return
	}
	edge.Of(taken.Context()).Route = found.Template
	rule, _ := access.RuleOf(rpc)
	body, err := p.check(w, original, taken, rule.GetAnonymous())
	if err != nil {
		Fail(w, taken, err)
		return
	}
	timeout := defaultTimeout
	if s := rule.GetTimeoutSeconds(); s > 0 {
		timeout = time.Duration(s) * time.Second
	}
	ctx, cancel := context.WithTimeout(taken.Context(), timeout+grace)
	defer cancel()
	onward, err := p.onward(ctx, original, body)
	if err == nil && !rule.GetAnonymous() {
		var token string
		token, err = p.admit.token(ctx, rpc)
		onward.Header.Set(caller.MetadataKey, token)
	}
	if err != nil {
		Fail(w, taken, err)
		return
	}
	p.answer(w, taken, onward)
}

// refuse answers for paths that have no route, or none with this method. Where a search is
// tried by GET, records' own answer says what to do instead, but nobody needs to be admitted for it.
func (p *passage) refuse(w http.ResponseWriter, r *http.Request, allowed []string) {
	if len(allowed) == 0 {
		Fail(w, r, errs.New(errs.KindNotFound, reasonRoute, "there is no such interaction; GET "+fhirPath+"/metadata lists them"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	Fail(w, r, errs.New(errs.KindUnimplemented, reasonMethod,
		"the path does not take this method; search with POST {type}/_search, with the parameters in the body: URLs are logged and kept"))
}

// check does what the API's other routes do before a call: origin, session, and a body
// within its limits. What stands in the body and the query, records checks.
func (p *passage) check(w http.ResponseWriter, original, taken *http.Request, anonymous bool) ([]byte, error) {
	s := sessionOf(taken.Context())
	if err := s.checkOrigin(anonymous); err != nil {
		return nil, err
	}
	if s.misled != nil {
		return nil, s.misled
	}
	if !anonymous {
		if s.err != nil {
			return nil, s.err
		}
		if s.token == "" {
			return nil, errNoSession
		}
	}
	if s.cookies && original.Method == http.MethodPost {
		// The types that a form can have never pass with a cookie.
		if err := checkType(taken, typeFHIR, typeJSON); err != nil {
			return nil, err
		}
	}
	return readInTime(w, taken, p.limits, p.limits.FHIRBytes)
}

// onward is the request to records.
func (p *passage) onward(ctx context.Context, original *http.Request, body []byte) (*http.Request, error) {
	url := *original.URL
	url.Scheme, url.Host, url.User = "https", p.Address, nil
	onward, err := http.NewRequestWithContext(ctx, original.Method, url.String(), bytes.NewReader(body)) //nolint:gosec // scheme and host are the settings'
	if err != nil {
		return nil, errs.New(errs.KindInvalid, reasonParameter, "the URL is not well formed")
	}
	for _, name := range fhirIncoming {
		if values := original.Header.Values(name); len(values) > 0 {
			onward.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	onward.Header.Set("User-Agent", "carekeep-gateway")
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(onward.Header))
	return onward, nil
}

func (p *passage) answer(w http.ResponseWriter, r, onward *http.Request) {
	response, err := p.Transport.RoundTrip(onward)
	if err != nil {
		kind := errs.KindUnavailable
		if onward.Context().Err() != nil {
			kind = errs.KindDeadline
		}
		Fail(w, r, errs.Wrap(fmt.Errorf("records: %w", err), kind, "DEPENDENCY_UNAVAILABLE", "a service that this request needs is not available"))
		return
	}
	defer func() { _ = response.Body.Close() }()
	for _, name := range fhirOutgoing {
		if values := response.Header.Values(name); len(values) > 0 {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	w.WriteHeader(response.StatusCode)
	// An answer that breaks off, or is larger than any may be, breaks the connection, so that nobody
	// takes the part for the whole: an export's file has no end that a client could look for.
	limit := int64(p.limits.ResponseBytes)
	if n, err := io.Copy(w, io.LimitReader(response.Body, limit+1)); err != nil || n > limit {
		panic(http.ErrAbortHandler)
	}
}
