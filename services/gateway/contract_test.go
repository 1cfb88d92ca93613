package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/gen/openapi"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/services/gateway/rest"
)

func requestField(t *testing.T, rpc, name string) protoreflect.FieldDescriptor {
	t.Helper()
	method := access.MethodOf(rpc)
	require.NotNil(t, method, rpc)
	fields := method.Input().Fields()
	if f := fields.ByJSONName(name); f != nil {
		return f
	}
	return fields.ByName(protoreflect.Name(name))
}

func requestHas(t *testing.T, rpc, name string) bool { return requestField(t, rpc, name) != nil }

// URLs end up in logs and histories of proxies and browsers (ASVS 14.2.1).
func TestNoPatientDataInURLs(t *testing.T) {
	routes, err := rest.Routes()
	require.NoError(t, err)
	for _, route := range routes {
		if strings.HasSuffix(route.RPC, "/ImportBundle") || strings.HasSuffix(route.RPC, "/UploadDocument") {
			continue // their parameters are resource names and a request id, and no fields of a message
		}
		names := route.Query
		for _, m := range regexp.MustCompile(`\{([a-z_]+)[=}]`).FindAllStringSubmatch(route.Template, -1) {
			names = append(names, m[1])
		}
		for _, name := range names {
			field := requestField(t, route.RPC, name)
			require.NotNil(t, field, "%s %s", route.RPC, name)
			rule, _ := proto.GetExtension(field.Options(), accessv1.E_Field).(*accessv1.FieldRule)
			require.False(t, rule.GetPhi() || rule.GetSecret(), "%s puts %s into the URL", route.RPC, name)
		}
	}
}

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openapi.Document)
	require.NoError(t, err)
	return doc
}

func TestDocumentIsValidOpenAPI31(t *testing.T) {
	doc := document(t)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.NoError(t, doc.Validate(context.Background()))
	require.Equal(t, "bearer", doc.Components.SecuritySchemes["session"].Value.Scheme)
	require.NotNil(t, doc.Components.Schemas["google.rpc.Status"])
	cookie := doc.Components.SecuritySchemes["sessionCookie"].Value
	require.Equal(t, []string{"apiKey", "cookie", sessionCookie}, []string{cookie.Type, cookie.In, cookie.Name})
	require.NotNil(t, doc.Paths.Find("/v1/auth:signIn").Post.Parameters.GetByInAndName("header", "X-Session-Transport"))
	require.NotNil(t, doc.Paths.Find("/v1/auth:verifyTotp").Post.Parameters.GetByInAndName("header", "X-Session-Transport"))
	require.Nil(t, doc.Paths.Find("/v1/auth:signOut").Post.Parameters.GetByInAndName("header", "X-Session-Transport"))
	require.NotNil(t, doc.Paths.Find("/v1/auth:signOut").Post.Parameters.GetByInAndName("header", "X-Device-Token"))
}

// readable is the document's form of a google.api.http template.
func readable(template string) string {
	path := regexp.MustCompile(`\{[a-z_.]+=([^}]+)\}`).ReplaceAllString(template, "$1")
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, rest, ok := strings.Cut(segment, "*"); ok && name == "" {
			segments[i] = "{" + strings.TrimSuffix(segments[i-1], "s") + "}" + rest
		}
	}
	return strings.Join(segments, "/")
}

// Every route is documented under the path that clients call, with its session,
// permission and answers; nothing else is.
func TestDocumentIsComplete(t *testing.T) {
	doc := document(t)
	routes, err := rest.Routes()
	require.NoError(t, err)
	operations := 0
	for _, item := range doc.Paths.Map() {
		operations += len(item.Operations())
	}
	require.Equal(t, len(routes), operations)
	for _, route := range routes {
		item := doc.Paths.Find(readable(route.Template))
		require.NotNil(t, item, "%s is not documented as %s", route.Template, readable(route.Template))
		op := item.GetOperation(route.Method)
		require.NotNil(t, op, route.Pattern())
		rule, _ := access.RuleOf(route.RPC)
		if route.Anonymous {
			require.Empty(t, *op.Security, route.Pattern())
		} else {
			require.Nil(t, op.Security, route.Pattern())
			require.Equal(t, rule.GetPermission().String(), op.Extensions["x-carekeep-permission"])
			require.NotNil(t, op.Responses.Value("401"))
		}
		failure := op.Responses.Default().Value.Content.Get("application/json")
		require.Equal(t, "#/components/schemas/google.rpc.Status", failure.Schema.Ref)
		method := access.MethodOf(route.RPC)
		success := op.Responses.Value("200").Value.Content
		switch {
		case method.IsStreamingServer() && method.Output().FullName() == "google.api.HttpBody":
			require.Contains(t, success, "application/zip", route.Pattern())
		case strings.HasSuffix(route.RPC, "/DownloadDocument"):
			require.Contains(t, success, "*/*", route.Pattern())
		case strings.HasSuffix(route.RPC, "/TailEntries"):
			require.Contains(t, success, "text/event-stream", route.Pattern())
		case method.IsStreamingServer():
			require.Contains(t, success, "application/x-ndjson", route.Pattern())
		case method.Output().FullName() == "google.api.HttpBody":
			require.Contains(t, success, "application/fhir+json", route.Pattern())
		default:
			require.Equal(t, "#/components/schemas/"+string(method.Output().FullName()), success["application/json"].Schema.Ref)
		}
	}
}

// What the gateway sets itself is not offered to clients, and PHI is marked.
func TestDocumentHidesAndMarks(t *testing.T) {
	doc := document(t)
	for _, path := range []string{"/v1/auth:signIn", "/v1/auth:acceptInvitation"} {
		properties := doc.Paths.Find(path).Post.RequestBody.Value.Content["application/json"].Schema.Value.Properties
		require.Contains(t, properties, "password")
		require.NotContains(t, properties, "client")
	}
	patient := doc.Components.Schemas["carekeep.records.v1.Patient"].Value.Properties
	require.Equal(t, true, patient["familyName"].Value.Extensions["x-carekeep-phi"])
	require.Equal(t, "PERMISSION_PATIENTS_NATIONAL_ID_READ", patient["nationalIdentifiers"].Value.Extensions["x-carekeep-permission"])
}

func TestDocumentIsServed(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/openapi.json", "", "Authorization", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.True(t, json.Valid(got.body))
	require.Equal(t, openapi.Document, got.body)
}
