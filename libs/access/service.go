package access

import (
	"strings"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// ServiceName returns the name of a service as certificates and tokens spell it,
// "records"; "" for SERVICE_UNSPECIFIED and unknown numbers.
func ServiceName(s accessv1.Service) string { return serviceNames[s] }

// ServiceFromName is the inverse of ServiceName; false for a name that is none.
func ServiceFromName(name string) (accessv1.Service, bool) {
	s, ok := servicesByName[name]
	return s, ok
}

// Services returns every service of the mesh in order of its number.
func Services() []accessv1.Service {
	values := accessv1.Service(0).Descriptor().Values()
	out := make([]accessv1.Service, 0, values.Len())
	for i := range values.Len() {
		if n := values.Get(i).Number(); n != 0 {
			out = append(out, accessv1.Service(n))
		}
	}
	return out
}

var serviceNames, servicesByName = nameServices()

func nameServices() (map[accessv1.Service]string, map[string]accessv1.Service) {
	names, byName := map[accessv1.Service]string{}, map[string]accessv1.Service{}
	for _, s := range Services() {
		name := strings.ToLower(strings.TrimPrefix(s.String(), "SERVICE_"))
		names[s], byName[name] = name, s
	}
	return names, byName
}
