// Package route finds the RPC behind an HTTP request, by the google.api.http options of
// a gRPC service. It is for APIs whose HTTP is spoken by hand, as FHIR's: gateway and records
// read the same table, so they cannot disagree about which rule a request meets.
package route

import (
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/carekeep/carekeep/libs/access"
)

// Route is one way to an RPC.
type Route struct {
	// Method and Template are those of the option, RPC the full method name.
	Method, Template, RPC string
	segments              []string
}

// Table holds the routes of a service.
type Table []Route

// Of reads the table of a service.
func Of(service protoreflect.ServiceDescriptor) Table {
	var t Table
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		for _, b := range access.Bindings(m) {
			t = append(t, Route{
				Method: b.Method, Template: b.Template, RPC: "/" + string(service.FullName()) + "/" + string(m.Name()),
				segments: strings.Split(b.Template, "/"),
			})
		}
	}
	// Literal segments go before variables, from the left.
	slices.SortStableFunc(t, func(a, b Route) int { return strings.Compare(a.rank(), b.rank()) })
	return t
}

// rank writes 0 for a literal and 1 for a variable.
func (r Route) rank() string {
	var b strings.Builder
	for _, s := range r.segments {
		if variable(s) {
			b.WriteByte('1')
		} else {
			b.WriteByte('0')
		}
	}
	return b.String()
}

func variable(segment string) bool { return strings.HasPrefix(segment, "{") }

// Find returns the route of a request by its escaped path, and the values of its
// variables. Where the path has routes of other methods only, it returns those methods.
func (t Table) Find(method, escapedPath string) (Route, map[string]string, []string) {
	segments := strings.Split(strings.TrimSuffix(escapedPath, "/"), "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return Route{}, nil, nil
		}
		segments[i] = plain
	}
	var allowed []string
	for _, r := range t {
		values, ok := r.match(segments)
		switch {
		case !ok:
		case r.Method == method:
			return r, values, nil
		case !slices.Contains(allowed, r.Method):
			allowed = append(allowed, r.Method)
		}
	}
	return Route{}, nil, allowed
}

func (r Route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(r.segments) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range r.segments {
		switch {
		case variable(want) && segments[i] != "":
			values[strings.Trim(want, "{}")] = segments[i]
		case variable(want), want != segments[i]:
			return nil, false
		}
	}
	return values, true
}
