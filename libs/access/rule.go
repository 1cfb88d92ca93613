// Package access reads the access policy out of the proto options and applies
// it: rules of RPCs, sets of permissions, and which fields a caller may see. It
// knows nothing of tokens or connections; libs/caller and libs/server do.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var rules sync.Map // full method name, with the leading slash → *accessv1.Rule, nil where there is none

// RuleOf returns the rule of an RPC by its full method name, "/package.Service/Method".
// The rule is shared: callers must not change it.
func RuleOf(fullMethod string) (*accessv1.Rule, bool) {
	if v, ok := rules.Load(fullMethod); ok {
		rule := v.(*accessv1.Rule)
		return rule, rule != nil
	}
	method := findMethod(fullMethod)
	if method == nil {
		// Not cached: the name may come from a stranger, who could fill the cache.
		return nil, false
	}
	rule := ruleOf(method)
	rules.Store(fullMethod, rule)
	return rule, rule != nil
}

// MethodOf returns the descriptor of an RPC by its full method name, nil where no
// linked proto file declares it.
func MethodOf(fullMethod string) protoreflect.MethodDescriptor { return findMethod(fullMethod) }

func ruleOf(method protoreflect.MethodDescriptor) *accessv1.Rule {
	options := method.Options()
	if !proto.HasExtension(options, accessv1.E_Rule) {
		return nil
	}
	return proto.GetExtension(options, accessv1.E_Rule).(*accessv1.Rule)
}

func findMethod(fullMethod string) protoreflect.MethodDescriptor {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok {
		return nil
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	return sd.Methods().ByName(protoreflect.Name(method))
}

// Check reports every RPC of the services that has no complete rule, by name and
// with what is missing. The argument is what grpc.Server.GetServiceInfo returns;
// the health service is left out by the caller, since it needs no rule.
func Check(services map[string]grpc.ServiceInfo) error {
	var problems []error
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, m := range services[name].Methods {
			full := "/" + name + "/" + m.Name
			if missing := missingIn(full); missing != "" {
				problems = append(problems, fmt.Errorf(
					"access: RPC %s %s; add it to option (carekeep.access.v1.rule)", full, missing))
			}
		}
	}
	return errors.Join(problems...)
}

// missingIn says what the rule of an RPC lacks, "" where it is complete.
func missingIn(fullMethod string) string {
	rule, ok := RuleOf(fullMethod)
	if !ok {
		return "declares no access rule"
	}
	var missing []string
	if !rule.GetAnonymous() {
		if rule.GetPermission() == accessv1.Permission_PERMISSION_UNSPECIFIED {
			missing = append(missing, "permission")
		}
		if rule.GetAssurance() == accessv1.Assurance_ASSURANCE_UNSPECIFIED {
			missing = append(missing, "assurance")
		}
	} else if rule.GetPermission() != accessv1.Permission_PERMISSION_UNSPECIFIED || (rule.GetPhi() && !rule.GetPatientToken()) {
		return "is anonymous and may therefore neither name a permission nor, without a patient's token, touch PHI"
	}
	if rule.GetPatientToken() && !rule.GetAnonymous() {
		return "takes a patient's token and must therefore be anonymous: patients have no sessions"
	}
	if len(rule.GetCallers()) == 0 || slices.Contains(rule.GetCallers(), accessv1.Service_SERVICE_UNSPECIFIED) {
		missing = append(missing, "callers")
	}
	if rule.GetAction() == accessv1.Action_ACTION_UNSPECIFIED {
		missing = append(missing, "action")
	}
	if rule.GetTimeoutSeconds() < 0 {
		missing = append(missing, "a timeout that is not negative")
	}
	if len(missing) == 0 {
		return ""
	}
	return "lacks " + strings.Join(missing, ", ")
}
