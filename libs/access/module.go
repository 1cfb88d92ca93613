package access

import (
	"sync"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"google.golang.org/protobuf/proto"
)

// ModuleOf returns the module of a permission, as the proto file says.
func ModuleOf(p accessv1.Permission) accessv1.Module {
	value := p.Descriptor().Values().ByNumber(p.Number())
	if value == nil || !proto.HasExtension(value.Options(), accessv1.E_Module) {
		return accessv1.Module_MODULE_UNSPECIFIED
	}
	return proto.GetExtension(value.Options(), accessv1.E_Module).(accessv1.Module)
}

// Patient returns the permissions over patient data, which gates withhold: those
// of the modules that hold any.
var Patient = sync.OnceValue(func() Permissions {
	var set Permissions
	for number := range accessv1.Permission_name {
		switch p := accessv1.Permission(number); ModuleOf(p) {
		case accessv1.Module_MODULE_PATIENTS, accessv1.Module_MODULE_NOTES, accessv1.Module_MODULE_PRESCRIPTIONS,
			accessv1.Module_MODULE_APPOINTMENTS, accessv1.Module_MODULE_CLINICAL:
			set.Add(p)
		}
	}
	return set
})
