package intake

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/services/records/internal/bundle"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/validate"
)

// Reasons why an entry is refused; bundle has more.
const (
	reasonTypeUnknown     = "ENTRY_TYPE_UNKNOWN"
	reasonTypeUnsupported = "ENTRY_TYPE_UNSUPPORTED"
	reasonID              = "ENTRY_ID_INVALID"
	reasonOtherPatient    = "ENTRY_OTHER_PATIENT"
	reasonTooEarly        = "ENTRY_TOO_EARLY"
	reasonTooManyPatients = "ENTRY_TOO_MANY_PATIENTS"
	reasonUnavailable     = "ENTRY_PATIENT_UNAVAILABLE"
	reasonKeyExhausted    = "ENTRY_KEY_EXHAUSTED"
	reasonNotPermitted    = "ENTRY_NOT_PERMITTED"
	reasonConflict        = "ENTRY_CONFLICT"
	reasonCard            = "ENTRY_CARD_NUMBER"
	reasonMedia           = "ENTRY_MEDIA_REFUSED"
	reasonTaken           = "ENTRY_SLOT_TAKEN"
)

// item is an entry whose patient is known.
type item struct {
	index        int64
	resourceType string
	id, patient  uuid.UUID
	json         []byte
}

// refusal is a reason to refuse an entry, as an error.
type refusal struct{ reason, message string }

func (r *refusal) Error() string { return r.reason }

var errOtherPatient = &refusal{
	reasonOtherPatient,
	"The entry belongs to no Patient of this bundle and to no patient named in the options: send it with its Patient entry.",
}

// errEarly says that the entry's Patient may still come.
var errEarly = &refusal{reasonTooEarly, "Too many entries stand before the Patient they belong to: put the Patient entry first."}

// resolver finds the patient of each entry. It remembers the patients of the
// bundle, by every name that a reference may use.
type resolver struct {
	digest   func([]byte) []byte
	only     uuid.UUID // the one patient that is taken, if set
	patients map[uuid.UUID]uuid.UUID
	limit    int
}

func newResolver(digest func([]byte) []byte, only uuid.UUID, limit int) *resolver {
	r := &resolver{digest: digest, only: only, patients: map[uuid.UUID]uuid.UUID{}, limit: limit}
	if only != uuid.Nil {
		r.patients[only] = only
	}
	return r
}

// resolve reads what an entry is and whose. Its error is a *refusal.
func (r *resolver) resolve(e bundle.Entry) (item, error) {
	it := item{index: e.Index, json: e.Resource}
	it.resourceType = gjson.GetBytes(e.Resource, "resourceType").String()
	t := it.resourceType
	switch {
	case !fhir.Known(t):
		return it, &refusal{reasonTypeUnknown, "FHIR R4 has no resource of this resourceType."}
	case t != fhir.TypePatient && !fhir.Clinical(t) && !fhir.Directory(t):
		return it, &refusal{reasonTypeUnsupported, fmt.Sprintf("A %s belongs to no patient and is not stored here.", t)}
	}
	id, err := logicalID(e)
	if err != nil {
		return it, err
	}
	report := validate.Resource(t, e.Resource)
	if len(report.Issues) > 0 {
		return it, refused(report.Issues[0])
	}
	if t == fhir.TypeAppointment {
		if _, err := fhir.OccupancyOf(e.Resource); err != nil {
			return it, errTimes
		}
	}
	it.id = fhir.StoreID(r.digest, t, id)
	switch {
	case t == fhir.TypePatient:
		it.patient = it.id
		err = r.remember(it.id, e.FullURL)
	case fhir.Directory(t):
	default:
		it.patient, err = r.owner(t, e.Resource)
	}
	if err != nil {
		return it, err
	}
	if others := report.InChart(func(reference string) bool { return r.same(reference, it.patient) }); len(others) > 0 {
		return it, refused(others[0])
	}
	return it, nil
}

// refused makes an issue of a resource the reason to refuse its entry.
func refused(i validate.Issue) *refusal {
	reason := bundle.ReasonMalformed
	switch i.Reason {
	case validate.ReasonPatient:
		reason = reasonOtherPatient
	case validate.ReasonCard:
		reason = reasonCard
	case validate.ReasonMedia:
		reason = reasonMedia
	}
	return &refusal{reason, "The resource is not taken: " + i.String() + "."}
}

// same reports whether a reference may stand in a patient's chart: it names the
// patient, or as far as the bundle tells no patient. The nil patient is the directory.
func (r *resolver) same(reference string, patient uuid.UUID) bool {
	named, _ := r.patient(reference)
	if named == uuid.Nil {
		return fhir.ParsePatientReference(reference).Kind != fhir.ReferenceRelative
	}
	return named == patient
}

// logicalID is resource.id, or where there is none the UUID of fullUrl.
func logicalID(e bundle.Entry) (string, error) {
	found := gjson.GetBytes(e.Resource, "id")
	id := found.Str
	if !found.Exists() {
		u, ok := fhir.URN(e.FullURL)
		if !ok {
			return "", &refusal{reasonID, "The resource has no id: give it one, or give the entry a fullUrl of the form urn:uuid:…"}
		}
		return u.String(), nil
	}
	resourceType := gjson.GetBytes(e.Resource, "resourceType").Str
	url := strings.TrimPrefix(e.URL, "/")
	switch {
	case !fhir.ValidID(id):
		return "", &refusal{reasonID, "The resource's id must be 1 to 64 letters, digits, hyphens and points."}
	case e.Method == http.MethodPut && url != resourceType+"/"+id, e.Method == http.MethodPost && url != resourceType && url != "":
		return "", &refusal{bundle.ReasonMalformed, "request.url does not fit the resource: it must be the type for POST, and type/id for PUT."}
	}
	return id, nil
}

// remember takes a Patient of the bundle down under its id and its fullUrl.
func (r *resolver) remember(id uuid.UUID, fullURL string) error {
	if r.only != uuid.Nil && id != r.only {
		return errOtherPatient
	}
	names := []uuid.UUID{id}
	if u, ok := fhir.URN(fullURL); ok {
		names = append(names, u)
	} else if fullURL != "" {
		names = append(names, r.urlName(fullURL))
	}
	for _, n := range names {
		if known, ok := r.patients[n]; ok && known != id {
			return &refusal{bundle.ReasonMalformed, "The Patient's id or fullUrl was used for another Patient of the bundle."}
		}
	}
	if _, ok := r.patients[id]; !ok && len(r.patients) >= 2*r.limit {
		return &refusal{reasonTooManyPatients, fmt.Sprintf("A bundle may hold %d patients: send the rest in another one.", r.limit)}
	}
	for _, n := range names {
		r.patients[n] = id
	}
	return nil
}

// urlName is a name of fixed size for a URL.
func (r *resolver) urlName(url string) uuid.UUID { return fhir.StoreID(r.digest, "fullUrl", url) }

// owner is the patient whom a resource is about.
func (r *resolver) owner(resourceType string, doc []byte) (uuid.UUID, error) {
	open := false
	for _, group := range fhir.Subjects(resourceType, doc) {
		owner := uuid.Nil
		for _, ref := range group {
			p, candidate := r.patient(ref)
			switch {
			case p == uuid.Nil:
				open = open || candidate
			case owner != uuid.Nil && p != owner:
				return uuid.Nil, &refusal{reasonOtherPatient, "The resource is about two patients: it can stand in the chart of one only."}
			default:
				owner = p
			}
		}
		if owner != uuid.Nil {
			return owner, nil
		}
	}
	if open && r.only == uuid.Nil {
		return uuid.Nil, errEarly
	}
	return uuid.Nil, errOtherPatient
}

// patient finds the patient that a reference names; candidate is true where it
// may name one that has not come yet.
func (r *resolver) patient(reference string) (id uuid.UUID, candidate bool) {
	ref := fhir.ParsePatientReference(reference)
	switch ref.Kind {
	case fhir.ReferenceURN, fhir.ReferenceRelative:
		return r.patients[fhir.StoreID(r.digest, fhir.TypePatient, ref.ID)], true
	case fhir.ReferenceAbsolute:
		if p, ok := r.patients[r.urlName(ref.URL)]; ok {
			return p, true
		}
		// A UUID means the same on every server; any other id does not.
		if u, ok := fhir.ParseUUID(ref.ID); ok {
			return r.patients[u], true
		}
		return uuid.Nil, true
	}
	return uuid.Nil, false
}
