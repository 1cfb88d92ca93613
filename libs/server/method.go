package server

import (
	"fmt"
	"maps"
	"strings"
	"time"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	defaultTimeout = 10 * time.Second
	healthPrefix   = "/grpc.health.v1.Health/"
	// maxMethod bounds the name of an unknown method in its event.
	maxMethod = 200
)

// method is what the chain needs to know about an RPC, worked out once.
type method struct {
	name    string
	rule    *accessv1.Rule
	callers map[accessv1.Service]bool
	timeout time.Duration
	answer  protoreflect.MessageDescriptor // of its responses; nil for unknown methods
}

// prepare checks every rule and works the methods out.
func (s *Server) prepare() error {
	services := maps.Clone(s.grpc.GetServiceInfo())
	delete(services, grpc_health_v1.Health_ServiceDesc.ServiceName)
	if err := access.Check(services); err != nil {
		return fmt.Errorf("server: refusing to start: %w", err)
	}
	s.methods = map[string]*method{}
	var requests []protoreflect.MessageDescriptor
	for service, info := range services {
		for _, m := range info.Methods {
			name := "/" + service + "/" + m.Name
			rule, _ := access.RuleOf(name)
			s.methods[name] = newMethod(name, rule)
			s.methods[name].answer = access.MethodOf(name).Output()
			requests = append(requests, access.MethodOf(name).Input())
		}
	}
	s.unknown = newMethod("", &accessv1.Rule{Anonymous: true, Callers: access.Services()})
	var err error
	if s.validator, err = newValidator(requests); err != nil {
		return fmt.Errorf("server: refusing to start: %w", err)
	}
	return nil
}

func newMethod(name string, rule *accessv1.Rule) *method {
	m := &method{name: name, rule: rule, callers: map[accessv1.Service]bool{}, timeout: defaultTimeout}
	if t := rule.GetTimeoutSeconds(); t > 0 {
		m.timeout = time.Duration(t) * time.Second
	}
	for _, c := range rule.GetCallers() {
		m.callers[c] = true
	}
	return m
}

// methodOf finds an RPC. A name that nobody offers gets a method of its own, so
// that the attempt runs through the chain and is recorded.
func (s *Server) methodOf(name string) *method {
	if m, ok := s.methods[name]; ok {
		return m
	}
	m := *s.unknown
	// The name comes from the client, and events take only UTF-8.
	m.name = strings.ToValidUTF8(name[:min(len(name), maxMethod)], "")
	return &m
}

// unknownMethod answers calls to methods that nobody offers, inside the chain.
func unknownMethod(any, grpc.ServerStream) error {
	return errs.Status(errMethod).Err()
}

var errMethod = errs.New(errs.KindUnimplemented, "METHOD_UNKNOWN", "there is no such method")
