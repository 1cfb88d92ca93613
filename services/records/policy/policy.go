// Package policy says which permissions raw FHIR takes, by the type of the
// resource, and for which purposes of use it is read. The rest of the access policy stands in the proto files; types of FHIR are
// data there, so this part is a table.
package policy

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/errs"
)

// byType holds what reading a type takes beyond the RPC's own permission. What shows
// the same as a typed message takes the permissions of all its fields.
var byType = map[string][]accessv1.Permission{
	"Patient":       {accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ},
	"Person":        {accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ},
	"RelatedPerson": {accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ},

	"DocumentReference":  {accessv1.Permission_PERMISSION_NOTES_READ},
	"DocumentManifest":   {accessv1.Permission_PERMISSION_NOTES_READ},
	"Composition":        {accessv1.Permission_PERMISSION_NOTES_READ},
	"ClinicalImpression": {accessv1.Permission_PERMISSION_NOTES_READ},

	"MedicationRequest":        {accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ},
	"MedicationDispense":       {accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ},
	"MedicationStatement":      {accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ},
	"MedicationAdministration": {accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ},

	"Appointment":         {accessv1.Permission_PERMISSION_APPOINTMENTS_READ, accessv1.Permission_PERMISSION_APPOINTMENTS_REASON_READ},
	"AppointmentResponse": {accessv1.Permission_PERMISSION_APPOINTMENTS_READ, accessv1.Permission_PERMISSION_APPOINTMENTS_REASON_READ},

	"Encounter":     {accessv1.Permission_PERMISSION_ENCOUNTERS_READ},
	"EpisodeOfCare": {accessv1.Permission_PERMISSION_ENCOUNTERS_READ},

	"Observation": {accessv1.Permission_PERMISSION_OBSERVATIONS_READ},
	"Condition":   {accessv1.Permission_PERMISSION_CONDITIONS_READ},
	"Procedure":   {accessv1.Permission_PERMISSION_PROCEDURES_READ},

	"Immunization":               {accessv1.Permission_PERMISSION_IMMUNIZATIONS_READ},
	"ImmunizationEvaluation":     {accessv1.Permission_PERMISSION_IMMUNIZATIONS_READ},
	"ImmunizationRecommendation": {accessv1.Permission_PERMISSION_IMMUNIZATIONS_READ},

	"AllergyIntolerance": {accessv1.Permission_PERMISSION_ALLERGIES_READ},
	"AdverseEvent":       {accessv1.Permission_PERMISSION_ALLERGIES_READ},

	"CarePlan": {accessv1.Permission_PERMISSION_CARE_PLANS_READ},
	"CareTeam": {accessv1.Permission_PERMISSION_CARE_PLANS_READ},
	"Goal":     {accessv1.Permission_PERMISSION_CARE_PLANS_READ},

	"DiagnosticReport":  {accessv1.Permission_PERMISSION_DIAGNOSTICS_READ},
	"ImagingStudy":      {accessv1.Permission_PERMISSION_DIAGNOSTICS_READ},
	"Media":             {accessv1.Permission_PERMISSION_DIAGNOSTICS_READ},
	"MolecularSequence": {accessv1.Permission_PERMISSION_DIAGNOSTICS_READ},
	"Specimen":          {accessv1.Permission_PERMISSION_DIAGNOSTICS_READ},

	// Bills name diagnoses and prescriptions as well.
	"Account":                     {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"ChargeItem":                  {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"Claim":                       {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"ClaimResponse":               {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"Coverage":                    {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"CoverageEligibilityRequest":  {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"CoverageEligibilityResponse": {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"EnrollmentRequest":           {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"ExplanationOfBenefit":        {accessv1.Permission_PERMISSION_CLAIMS_READ},
	"Invoice":                     {accessv1.Permission_PERMISSION_CLAIMS_READ},

	"Endpoint":                {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"HealthcareService":       {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"InsurancePlan":           {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"Location":                {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"Medication":              {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"MedicationKnowledge":     {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"Organization":            {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"OrganizationAffiliation": {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"Practitioner":            {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"PractitionerRole":        {accessv1.Permission_PERMISSION_DIRECTORY_READ},
	"Substance":               {accessv1.Permission_PERMISSION_DIRECTORY_READ},
}

// updates holds what changing a type takes over the typed messages.
var updates = map[string]accessv1.Permission{
	"Patient":           accessv1.Permission_PERMISSION_PATIENTS_UPDATE,
	"DocumentReference": accessv1.Permission_PERMISSION_NOTES_UPDATE,
	"MedicationRequest": accessv1.Permission_PERMISSION_PRESCRIPTIONS_UPDATE,
	"Appointment":       accessv1.Permission_PERMISSION_APPOINTMENTS_UPDATE,
}

// creations and deletions are likewise for creating and deleting.
var (
	creations = map[string]accessv1.Permission{
		"Patient":           accessv1.Permission_PERMISSION_PATIENTS_CREATE,
		"DocumentReference": accessv1.Permission_PERMISSION_NOTES_CREATE,
		"MedicationRequest": accessv1.Permission_PERMISSION_PRESCRIPTIONS_CREATE,
		"Appointment":       accessv1.Permission_PERMISSION_APPOINTMENTS_CREATE,
	}
	deletions = map[string]accessv1.Permission{
		"Patient":           accessv1.Permission_PERMISSION_PATIENTS_DELETE,
		"DocumentReference": accessv1.Permission_PERMISSION_NOTES_DELETE,
		"MedicationRequest": accessv1.Permission_PERMISSION_PRESCRIPTIONS_DELETE,
		"Appointment":       accessv1.Permission_PERMISSION_APPOINTMENTS_DELETE,
	}
)

// Change is what is done to a raw resource.
type Change int

// The changes there are.
const (
	Create Change = iota
	Update
	Delete
)

var own = []map[string]accessv1.Permission{Create: creations, Update: updates, Delete: deletions}

// HasOwn reports whether a change of a type has a permission of its own.
func HasOwn(change Change, resourceType string) bool {
	_, ok := own[change][resourceType]
	return ok
}

// CheckChange refuses a caller who lacks what a change of a type takes, beyond the
// permission of the RPC: reading all of it, for who cannot see a value must neither overwrite
// nor take it away; what the typed messages ask for, where there is one; and for the
// directory, which is everybody's, a permission of its own. A place on the care team is
// asked for besides (internal/interact).
func CheckChange(v access.View, change Change, resourceType string) error {
	needed := slices.Clone(ReadPermissions(resourceType))
	if p, ok := own[change][resourceType]; ok {
		needed = append(needed, p)
	}
	if slices.Equal(ReadPermissions(resourceType), []accessv1.Permission{accessv1.Permission_PERMISSION_DIRECTORY_READ}) {
		needed = append(needed, accessv1.Permission_PERMISSION_DIRECTORY_WRITE)
	}
	for _, p := range needed {
		if !v.Held.Has(p) {
			return errs.New(errs.KindDenied, "TYPE_NOT_PERMITTED", fmt.Sprintf("Writing this type of resource takes %s.", p))
		}
	}
	return neededFor(v, resourceType)
}

// MayUpdate reports whether the permissions allow to change resources of a type
// whoever's patient it is. No permission does for types that have no typed message:
// they are changed by import alone, by those who treat the patient.
func MayUpdate(held access.Permissions, resourceType string) bool {
	p, ok := updates[resourceType]
	return ok && held.Has(p)
}

var otherTypes = []accessv1.Permission{accessv1.Permission_PERMISSION_CLINICAL_OTHER_READ}

// ReadPermissions returns what reading raw resources of a type takes, beyond the
// permission of the RPC. A type that the table does not name takes CLINICAL_OTHER_READ.
func ReadPermissions(resourceType string) []accessv1.Permission {
	if list, ok := byType[resourceType]; ok {
		return list
	}
	return otherTypes
}

// Enforced returns every permission that this service enforces in code rather
// than by an option in a proto file.
func Enforced() access.Permissions {
	// Which patients a caller sees, not what of them (internal/chart).
	p := access.NewPermissions(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE, accessv1.Permission_PERMISSION_DIRECTORY_WRITE)
	for _, x := range otherTypes {
		p.Add(x)
	}
	for _, list := range byType {
		for _, x := range list {
			p.Add(x)
		}
	}
	return p
}

// CheckRead refuses a view that lacks what reading a type raw takes, or whose purpose
// of use does not need the type.
func CheckRead(v access.View, resourceType string) error {
	for _, p := range ReadPermissions(resourceType) {
		if !v.Held.Has(p) {
			return errs.New(errs.KindDenied, "TYPE_NOT_PERMITTED", fmt.Sprintf("Reading this type of resource takes %s.", p))
		}
	}
	return neededFor(v, resourceType)
}

func neededFor(v access.View, resourceType string) error {
	if !Needed(v.Purpose, resourceType) {
		return errs.New(errs.KindDenied, "TYPE_NOT_FOR_PURPOSE", fmt.Sprintf(
			"Resources of this type are neither read nor written raw for %s: use the typed views, which show what the purpose needs.", v.Purpose))
	}
	return nil
}

// MayRead is CheckRead as a question, for what leaves such types out.
func MayRead(v access.View, resourceType string) bool { return CheckRead(v, resourceType) == nil }

// CheckWrite refuses to change fields that the caller may not see: who cannot see
// a value must not overwrite it. It goes by the field options of the proto file.
func CheckWrite(v access.View, message proto.Message, fields []string) error {
	described := message.ProtoReflect().Descriptor().Fields()
	for _, name := range fields {
		field := described.ByName(protoreflect.Name(name))
		p := access.FieldRuleOf(field).GetPermission()
		if !access.ShownFor(field, v.Purpose) {
			return errs.New(errs.KindDenied, "FIELD_NOT_FOR_PURPOSE", fmt.Sprintf("This field is not shown for %s, so it is not changed for it either.", v.Purpose)).
				WithField(name, "leave it out of the update mask, or state the purpose that the change is for")
		}
		if p != accessv1.Permission_PERMISSION_UNSPECIFIED && !v.Held.Has(p) {
			return errs.New(errs.KindDenied, "FIELD_NOT_PERMITTED", fmt.Sprintf("Changing this field takes %s.", p)).
				WithField(name, "may not be changed by this caller; leave it out of the update mask")
		}
	}
	return nil
}

// CheckContent refuses a stream to a purpose that a field of its messages is not shown for.
func CheckContent(v access.View, message proto.Message, field string) error {
	if access.ShownFor(message.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field)), v.Purpose) {
		return nil
	}
	return errs.New(errs.KindDenied, "CONTENT_NOT_FOR_PURPOSE", fmt.Sprintf(
		"The content of documents is neither read nor stored for %s: state the purpose that it is needed for.", v.Purpose))
}
