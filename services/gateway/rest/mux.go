package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// API is the handler of everything below /v1 and /fhir/R4.
type API struct {
	mux     *runtime.ServeMux
	routes  map[string]Route
	limits  edge.Limits
	origins origins
	probes  *probes
	fhir    *passage
	events  *auditEvents
	log     *publicLog
}

// Options say how the API is served.
type Options struct {
	Limits edge.Limits
	// Origins are those whose pages may sign in for bearer tokens.
	Origins []string
	FHIR    FHIR
	Log     Log
	Now     func() time.Time
}

// New makes the API over one connection for each service.
func New(conns map[accessv1.Service]grpc.ClientConnInterface, o Options) (*API, error) {
	routes, err := Routes()
	if err != nil {
		return nil, err
	}
	origins, err := newOrigins(o.Origins)
	if err != nil {
		return nil, err
	}
	a := &API{routes: make(map[string]Route, len(routes)), limits: o.Limits, origins: origins}
	a.log = newPublicLog(o.Log, o.Limits, o.Now)
	for _, r := range append(routes, webhookRoute) {
		a.routes[r.key()] = r
	}
	a.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithIncomingHeaderMatcher(nothing),
		runtime.WithOutgoingHeaderMatcher(nothing),
		runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithErrorHandler(onError),
		runtime.WithStreamErrorHandler(onStreamError),
		runtime.WithRoutingErrorHandler(a.onRoutingError),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptReserved),
		runtime.WithWriteContentLength(),
		runtime.WithForwardResponseOption(setCookies),
		runtime.WithMiddlewares(a.enter),
	)
	auth := authv1.NewAuthServiceClient(conns[accessv1.Service_SERVICE_AUTH])
	a.fhir = newPassage(o.FHIR, &admitted{service: accessv1.Service_SERVICE_RECORDS, auth: auth}, o.Limits)
	return a, a.register(conns)
}

// nothing passes between HTTP headers and gRPC metadata, in neither direction.
func nothing(string) (string, bool) { return "", false }

func (a *API) register(conns map[accessv1.Service]grpc.ClientConnInterface) error {
	auth := authv1.NewAuthServiceClient(conns[accessv1.Service_SERVICE_AUTH])
	a.probes = newProbes(authv1.NewGuardServiceClient(conns[accessv1.Service_SERVICE_AUTH]))
	over := func(s accessv1.Service) grpc.ClientConnInterface {
		return &admitted{ClientConnInterface: conns[s], service: s, auth: auth}
	}
	for service := range services {
		if conns[service] == nil {
			return fmt.Errorf("no connection to %s", service)
		}
	}
	// The handlers use the context only in the forms that dial by themselves.
	ctx := context.Background()
	records := recordsv1.NewRecordsServiceClient(over(accessv1.Service_SERVICE_RECORDS))
	rights := recordsv1.NewRightsServiceClient(over(accessv1.Service_SERVICE_RECORDS))
	files := &downloads{rights: rights, stall: a.limits.Stall()}
	papers := &documents{client: recordsv1.NewDocumentServiceClient(over(accessv1.Service_SERVICE_RECORDS)), stall: a.limits.Stall()}
	messages := authv1.NewMessageServiceClient(over(accessv1.Service_SERVICE_AUTH))
	reading := auditv1.NewReadingServiceClient(over(accessv1.Service_SERVICE_AUDIT))
	a.events = &auditEvents{a.fhir, reading}
	live := &tails{reading: reading, admit: &admitted{service: accessv1.Service_SERVICE_AUDIT, auth: auth}, stall: a.limits.Stall(), check: a.limits.Check()}
	return errors.Join(
		authv1.RegisterAuthServiceHandlerClient(ctx, a.mux, authv1.NewAuthServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterGuardServiceHandlerClient(ctx, a.mux, authv1.NewGuardServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterDeviceServiceHandlerClient(ctx, a.mux, authv1.NewDeviceServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterMessageServiceHandlerClient(ctx, a.mux, messages),
		authv1.RegisterCodeServiceHandlerClient(ctx, a.mux, authv1.NewCodeServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterPasskeyServiceHandlerClient(ctx, a.mux, authv1.NewPasskeyServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterContainmentServiceHandlerClient(ctx, a.mux, authv1.NewContainmentServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		authv1.RegisterGovernanceServiceHandlerClient(ctx, a.mux, authv1.NewGovernanceServiceClient(over(accessv1.Service_SERVICE_AUTH))),
		recordsv1.RegisterRecordsServiceHandlerClient(ctx, a.mux, records),
		recordsv1.RegisterLifecycleServiceHandlerClient(ctx, a.mux, recordsv1.NewLifecycleServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterKeysServiceHandlerClient(ctx, a.mux, recordsv1.NewKeysServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterIndexServiceHandlerClient(ctx, a.mux, recordsv1.NewIndexServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterRightsServiceHandlerClient(ctx, a.mux, rights),
		recordsv1.RegisterAccessServiceHandlerClient(ctx, a.mux, recordsv1.NewAccessServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterWatchServiceHandlerClient(ctx, a.mux, recordsv1.NewWatchServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterReferralServiceHandlerClient(ctx, a.mux, recordsv1.NewReferralServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterSchedulingServiceHandlerClient(ctx, a.mux, recordsv1.NewSchedulingServiceClient(over(accessv1.Service_SERVICE_RECORDS))),
		recordsv1.RegisterDocumentServiceHandlerClient(ctx, a.mux, papers.client),
		auditv1.RegisterAuditServiceHandlerClient(ctx, a.mux, auditv1.NewAuditServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterVulnerabilityServiceHandlerClient(ctx, a.mux, auditv1.NewVulnerabilityServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterBreachServiceHandlerClient(ctx, a.mux, auditv1.NewBreachServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterIncidentServiceHandlerClient(ctx, a.mux, auditv1.NewIncidentServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterDetectionServiceHandlerClient(ctx, a.mux, auditv1.NewDetectionServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterReadingServiceHandlerClient(ctx, a.mux, reading),
		auditv1.RegisterRetentionServiceHandlerClient(ctx, a.mux, auditv1.NewRetentionServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		auditv1.RegisterLogReviewServiceHandlerClient(ctx, a.mux, auditv1.NewLogReviewServiceClient(over(accessv1.Service_SERVICE_AUDIT))),
		backupv1.RegisterBackupServiceHandlerClient(ctx, a.mux, backupv1.NewBackupServiceClient(over(accessv1.Service_SERVICE_BACKUP))),
		a.mux.HandlePath(http.MethodPost, importPath, (&importer{records: records, stall: a.limits.Stall()}).serve),
		// The later of two handlers of a path is taken.
		a.mux.HandlePath(http.MethodPost, exportPath, files.export),
		a.mux.HandlePath(http.MethodPost, ownExportPath, files.exportByToken),
		a.mux.HandlePath(http.MethodPost, uploadPath, papers.upload),
		a.mux.HandlePath(http.MethodGet, downloadPath, papers.download),
		a.mux.HandlePath(http.MethodGet, tailPath, live.serve),
		a.mux.HandlePath(http.MethodPost, webhookPath, (&webhook{messages: messages}).serve),
	)
}

// ServeHTTP serves one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !utf8.ValidString(r.URL.Path) {
		Fail(w, r, errs.New(errs.KindInvalid, reasonParameter, "the path is not valid UTF-8"))
		return
	}
	if a.log.takes(r.URL.Path) {
		a.log.serve(w, r)
		return
	}
	if isFHIR(r.URL.Path) {
		if r.URL.Path == auditEventPath || strings.HasPrefix(r.URL.Path, auditEventPath+"/") {
			a.events.serve(w, r, a.take(r))
			return
		}
		a.fhir.serve(w, r, a.take(r))
		return
	}
	a.mux.ServeHTTP(w, a.take(r))
}

// enter runs once the route is known and before its handler.
func (a *API) enter(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		pattern, _ := runtime.HTTPPattern(r.Context())
		route, ok := a.routes[r.Method+" "+pattern.String()]
		if !ok {
			Fail(w, r, fmt.Errorf("route %s %s is not in the table", r.Method, pattern))
			return
		}
		edge.Of(r.Context()).Route = route.Template
		if err := a.check(w, r, route); err != nil {
			Fail(w, r, err)
			return
		}
		next(w, r, params)
	}
}

func (a *API) check(w http.ResponseWriter, r *http.Request, route Route) error {
	s := sessionOf(r.Context())
	if err := s.checkOrigin(route.Anonymous); err != nil {
		return err
	}
	if err := checkQuery(r.URL.RawQuery, route.Query); err != nil {
		return err
	}
	if s.misled != nil {
		return s.misled
	}
	if !route.Anonymous {
		if s.err != nil {
			return s.err
		}
		if s.token == "" {
			return errNoSession
		}
	}
	if route.Template == importPath {
		return checkType(r, typeFHIR, typeJSON)
	}
	if route.RPC == recordsv1.DocumentService_UploadDocument_FullMethodName {
		return nil // its media type is the document's, and its header is none that a form could send
	}
	if route.Template == webhookPath {
		return readForm(w, r, a.limits)
	}
	if s.cookies && r.Method == http.MethodPost {
		// Also without a body: the types that a form can have never pass with a cookie.
		if err := checkType(r, typeJSON); err != nil {
			return err
		}
	}
	return readBody(w, r, a.limits)
}

// checkQuery refuses what the route does not know: grpc-gateway would ignore it,
// and a filter with a typing error must not silently widen a list.
func checkQuery(raw string, known []string) error {
	if raw == "" {
		return nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errs.New(errs.KindInvalid, reasonParameter, "the query is not well formed")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return errs.New(errs.KindInvalid, "PARAMETER_UNKNOWN", "unknown query parameter; "+allowed(known))
		}
		if len(values) > 1 {
			return errs.New(errs.KindInvalid, reasonParameter, "a query parameter stands twice").
				WithField(name, "give it once")
		}
		if !utf8.ValidString(values[0]) {
			return errs.New(errs.KindInvalid, reasonParameter, "a query parameter is not valid UTF-8").
				WithField(name, "use UTF-8")
		}
	}
	return nil
}

func allowed(known []string) string {
	if len(known) == 0 {
		return "this route takes none"
	}
	return "this route takes " + strings.Join(known, ", ")
}

func (a *API) onRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
	switch status {
	case http.StatusMethodNotAllowed:
		Fail(w, r, errs.New(errs.KindUnimplemented, reasonMethod, "this path does not take this method; see /openapi.json"))
	case http.StatusNotFound:
		a.probes.note(r)
		Fail(w, r, errs.New(errs.KindNotFound, reasonRoute, "there is no such path; see /openapi.json"))
	default:
		Fail(w, r, errs.New(errs.KindInvalid, reasonParameter, "the path is not well formed"))
	}
}
