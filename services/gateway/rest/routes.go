// Package rest turns REST requests into gRPC calls: it routes, admits, checks
// bodies and parameters, streams imports, and puts errors into words. Who may do
// what is decided by auth and by the service that is called, not here.
package rest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// importPath is a route that is written by hand, like those of documents' content: a body of any size cannot
// pass through grpc-gateway, which reads one message.
const importPath = "/v1/patients:import"

// Route is one way in.
type Route struct {
	// Method and Template are those of the google.api.http rule.
	Method, Template string
	// RPC is the full method name, Service the one that answers it.
	RPC     string
	Service accessv1.Service
	// Query holds the parameters that may stand in the URL.
	Query []string
	// Anonymous routes need no session.
	Anonymous bool
}

// Pattern is how logs and traces name the route.
func (r Route) Pattern() string { return r.Method + " " + r.Template }

var shortVariable = regexp.MustCompile(`\{([^=}]+)\}`)

// key is how grpc-gateway writes the pattern: {seq} as {seq=*}.
func (r Route) key() string {
	return r.Method + " " + shortVariable.ReplaceAllString(r.Template, "{$1=*}")
}

// services lists the proto files whose RPCs each service answers.
var services = map[accessv1.Service][]protoreflect.FileDescriptor{
	accessv1.Service_SERVICE_AUTH: {
		authv1.File_carekeep_auth_v1_auth_proto,
		authv1.File_carekeep_auth_v1_devices_proto,
		authv1.File_carekeep_auth_v1_messages_proto,
		authv1.File_carekeep_auth_v1_codes_proto,
		authv1.File_carekeep_auth_v1_guard_proto,
		authv1.File_carekeep_auth_v1_containment_proto,
		authv1.File_carekeep_auth_v1_passkeys_proto,
		authv1.File_carekeep_auth_v1_governance_proto,
	},
	accessv1.Service_SERVICE_RECORDS: {
		recordsv1.File_carekeep_records_v1_records_proto,
		recordsv1.File_carekeep_records_v1_lifecycle_proto,
		recordsv1.File_carekeep_records_v1_keys_proto,
		recordsv1.File_carekeep_records_v1_index_proto,
		recordsv1.File_carekeep_records_v1_rights_proto,
		recordsv1.File_carekeep_records_v1_access_proto,
		recordsv1.File_carekeep_records_v1_referrals_proto,
		recordsv1.File_carekeep_records_v1_watch_proto,
		recordsv1.File_carekeep_records_v1_scheduling_proto,
		recordsv1.File_carekeep_records_v1_documents_proto,
	},
	accessv1.Service_SERVICE_AUDIT: {
		auditv1.File_carekeep_audit_v1_audit_proto,
		auditv1.File_carekeep_audit_v1_detection_proto,
		auditv1.File_carekeep_audit_v1_reports_proto,
		auditv1.File_carekeep_audit_v1_incidents_proto,
		auditv1.File_carekeep_audit_v1_reading_proto,
		auditv1.File_carekeep_audit_v1_retention_proto,
		auditv1.File_carekeep_audit_v1_reviews_proto,
		auditv1.File_carekeep_audit_v1_breaches_proto,
	},
	accessv1.Service_SERVICE_BACKUP: {backupv1.File_carekeep_backup_v1_backup_proto},
}

// Routes lists every route of the API, in order of its pattern, read from the proto files.
func Routes() ([]Route, error) {
	routes := []Route{{
		Method: "POST", Template: importPath, RPC: recordsv1.RecordsService_ImportBundle_FullMethodName,
		Service: accessv1.Service_SERVICE_RECORDS, Query: []string{"doctor", "patient"},
	}, {
		Method: "POST", Template: uploadPath, RPC: recordsv1.DocumentService_UploadDocument_FullMethodName,
		Service: accessv1.Service_SERVICE_RECORDS, Query: []string{"requestId"},
	}, {
		Method: "GET", Template: downloadPath, RPC: recordsv1.DocumentService_DownloadDocument_FullMethodName,
		Service: accessv1.Service_SERVICE_RECORDS,
	}}
	for service, files := range services {
		for _, method := range methodsOf(files) {
			found, err := routesOf(service, method)
			if err != nil {
				return nil, err
			}
			routes = append(routes, found...)
		}
	}
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(a.Pattern(), b.Pattern()) })
	return routes, nil
}

func methodsOf(files []protoreflect.FileDescriptor) []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	for _, file := range files {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				all = append(all, methods.Get(j))
			}
		}
	}
	return all
}

func routesOf(service accessv1.Service, method protoreflect.MethodDescriptor) ([]Route, error) {
	bindings := access.Bindings(method)
	if len(bindings) == 0 {
		return nil, nil
	}
	rpc := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	rule, ok := access.RuleOf(rpc)
	if !ok {
		return nil, fmt.Errorf("RPC %s has a REST binding but no access rule", rpc)
	}
	var routes []Route
	for _, b := range bindings {
		if b.Method == "" {
			return nil, fmt.Errorf("RPC %s: the REST binding has a method the gateway does not serve", rpc)
		}
		routes = append(routes, Route{
			Method: b.Method, Template: b.Template, RPC: rpc, Service: service,
			Query: queryOf(method.Input(), b.Template, b.Body), Anonymous: rule.GetAnonymous(),
		})
	}
	return routes, nil
}

var templateVariable = regexp.MustCompile(`\{([^=}]+)`)

// queryOf names the fields that are left for the query: neither in the path nor
// in the body. Both spellings are taken, as in JSON.
func queryOf(input protoreflect.MessageDescriptor, template, body string) []string {
	if body == "*" {
		return nil
	}
	taken := map[string]bool{body: true}
	for _, m := range templateVariable.FindAllStringSubmatch(template, -1) {
		taken[m[1]] = true
	}
	var names []string
	for i := range input.Fields().Len() {
		field := input.Fields().Get(i)
		nested := field.Message() != nil && field.Message().FullName() != "google.protobuf.FieldMask" &&
			field.Message().FullName() != "google.protobuf.Timestamp"
		if taken[string(field.Name())] || nested || field.IsMap() {
			continue
		}
		names = append(names, string(field.Name()))
		if field.JSONName() != string(field.Name()) {
			names = append(names, field.JSONName())
		}
	}
	return names
}
