// Package roles says what each kind of role may do: the one place where
// permissions are given out. It knows no database and no session; what a
// session's assurance or a doctor's choice of modules takes away again is
// computed here from values that are passed in.
package roles

import (
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
)

// Templates of RoleKind STAFF (claim DC-03: there is no fifth kind).
const (
	Nurse        = "nurse"
	Receptionist = "receptionist"
)

// Role is a kind of role and, for STAFF, its template.
type Role struct {
	Kind     accessv1.RoleKind
	Template string
}

// self is what everybody may do with their own account, and read of their own practice.
var self = []accessv1.Permission{
	accessv1.Permission_PERMISSION_SELF_READ,
	accessv1.Permission_PERMISSION_SELF_SESSIONS_LIST,
	accessv1.Permission_PERMISSION_SELF_SESSIONS_END,
	accessv1.Permission_PERMISSION_SELF_PASSWORD_CHANGE,
	accessv1.Permission_PERMISSION_SELF_FACTORS_ENROL,
	accessv1.Permission_PERMISSION_SELF_FACTORS_VERIFY,
	accessv1.Permission_PERMISSION_SELF_FACTORS_READ,
	accessv1.Permission_PERMISSION_SELF_DEVICES_READ,
	accessv1.Permission_PERMISSION_SELF_DEVICES_UPDATE,
	accessv1.Permission_PERMISSION_SELF_COMPROMISE_REPORT,
	accessv1.Permission_PERMISSION_SELF_SIGN_INS_APPROVE,
	accessv1.Permission_PERMISSION_SELF_GRANTS_REQUEST,
	accessv1.Permission_PERMISSION_PRACTICES_READ,
	accessv1.Permission_PERMISSION_ROLES_READ,
}

// singleFactor is all that a session holds before its second factor (claim
// DH-22): enough to give or enrol that factor, to look at oneself, to report that
// the account is in wrong hands, and to leave.
var singleFactor = access.NewPermissions(
	accessv1.Permission_PERMISSION_SELF_READ,
	accessv1.Permission_PERMISSION_SELF_SESSIONS_END,
	accessv1.Permission_PERMISSION_SELF_FACTORS_ENROL,
	accessv1.Permission_PERMISSION_SELF_FACTORS_VERIFY,
	accessv1.Permission_PERMISSION_SELF_FACTORS_READ,
	accessv1.Permission_PERMISSION_SELF_COMPROMISE_REPORT,
)

var users = []accessv1.Permission{
	accessv1.Permission_PERMISSION_USERS_CREATE,
	accessv1.Permission_PERMISSION_USERS_READ,
	accessv1.Permission_PERMISSION_USERS_LIST,
	accessv1.Permission_PERMISSION_USERS_UPDATE,
	accessv1.Permission_PERMISSION_USERS_DISABLE,
	accessv1.Permission_PERMISSION_USERS_CONTACT_READ,
	accessv1.Permission_PERMISSION_USERS_SESSIONS_END,
	accessv1.Permission_PERMISSION_USERS_UNLOCK,
	accessv1.Permission_PERMISSION_USERS_CONTAIN,
}

var staffing = []accessv1.Permission{
	accessv1.Permission_PERMISSION_STAFF_LIST,
	accessv1.Permission_PERMISSION_STAFF_ASSIGN,
	accessv1.Permission_PERMISSION_STAFF_UNASSIGN,
	accessv1.Permission_PERMISSION_STAFF_MODULES_UPDATE,
}

// governing is what an administrator and a superadmin decide about access itself.
var governing = []accessv1.Permission{
	accessv1.Permission_PERMISSION_GRANTS_LIST,
	accessv1.Permission_PERMISSION_GRANTS_DECIDE,
	accessv1.Permission_PERMISSION_GRANTS_REVOKE,
	accessv1.Permission_PERMISSION_CERTIFICATIONS_READ,
	accessv1.Permission_PERMISSION_CERTIFICATIONS_DECIDE,
	accessv1.Permission_PERMISSION_PERMISSION_USE_READ,
	accessv1.Permission_PERMISSION_BAA_READ,
	accessv1.Permission_PERMISSION_USERS_TRAINING_RECORD,
}

// keyCare is the care for a practice's keys and the integrity of its store. It shows no key and no chart.
var keyCare = []accessv1.Permission{
	accessv1.Permission_PERMISSION_KEYS_READ,
	accessv1.Permission_PERMISSION_KEYS_ROTATE,
	accessv1.Permission_PERMISSION_KEYS_REWRAP,
	accessv1.Permission_PERMISSION_KEYS_TRIM,
	accessv1.Permission_PERMISSION_STORE_SCRUB,
	accessv1.Permission_PERMISSION_INDEX_READ,
	accessv1.Permission_PERMISSION_INDEX_REBUILD,
}

// messaging is what reaches patients, and whether it may.
var messaging = []accessv1.Permission{
	accessv1.Permission_PERMISSION_MESSAGES_SEND,
	accessv1.Permission_PERMISSION_MESSAGES_READ,
	accessv1.Permission_PERMISSION_CONSENTS_READ,
	accessv1.Permission_PERMISSION_CONSENTS_RECORD,
	accessv1.Permission_PERMISSION_CONSENTS_REVOKE,
}

// audit is what reads the log. Who opened a chart is among it and no doctor's to ask: the service
// of the log knows no care teams, so whoever may ask may do so about every patient.
var audit = []accessv1.Permission{
	accessv1.Permission_PERMISSION_AUDIT_ENTRIES_LIST,
	accessv1.Permission_PERMISSION_AUDIT_ENTRIES_READ,
	accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ,
	accessv1.Permission_PERMISSION_AUDIT_CHECKPOINTS_READ,
	accessv1.Permission_PERMISSION_AUDIT_PROOFS_READ,
	accessv1.Permission_PERMISSION_AUDIT_EXPORT,
	accessv1.Permission_PERMISSION_AUDIT_ALERTS_LIST,
	accessv1.Permission_PERMISSION_AUDIT_REVIEWS_PERFORM,
	accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ,
	accessv1.Permission_PERMISSION_AUDIT_REVIEWS_LIST,
	accessv1.Permission_PERMISSION_AUDIT_RULES_LIST,
	accessv1.Permission_PERMISSION_AUDIT_RULES_TEST,
	accessv1.Permission_PERMISSION_AUDIT_DETECTIONS_LIST,
}

// vulnerabilities is the handling of reports that strangers send about the installation.
var vulnerabilities = []accessv1.Permission{
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_LIST,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_READ,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_ACKNOWLEDGE,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_TRIAGE,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_RESOLVE,
	accessv1.Permission_PERMISSION_VULNERABILITY_REPORTS_MESSAGE,
}

// incidents leads through security incidents of a practice, or of the platform.
var incidents = []accessv1.Permission{
	accessv1.Permission_PERMISSION_INCIDENTS_LIST,
	accessv1.Permission_PERMISSION_INCIDENTS_READ,
	accessv1.Permission_PERMISSION_INCIDENTS_OPEN,
	accessv1.Permission_PERMISSION_INCIDENTS_HANDLE,
	accessv1.Permission_PERMISSION_INCIDENTS_CLOSE,
	accessv1.Permission_PERMISSION_BLAST_RADIUS_READ,
	accessv1.Permission_PERMISSION_BREACHES_READ,
	accessv1.Permission_PERMISSION_BREACHES_MANAGE,
	accessv1.Permission_PERMISSION_BREACHES_SIGN,
	accessv1.Permission_PERMISSION_BREACHES_NOTIFY,
}

// containing cuts off what does harm, for the whole installation.
var containing = []accessv1.Permission{
	accessv1.Permission_PERMISSION_BLOCKS_CREATE,
	accessv1.Permission_PERMISSION_CONTAINMENTS_CREATE,
	accessv1.Permission_PERMISSION_CONTAINMENTS_RELEASE,
	accessv1.Permission_PERMISSION_CONTAINMENTS_LIST,
}

var careTeam = []accessv1.Permission{
	accessv1.Permission_PERMISSION_CARE_TEAM_READ,
	accessv1.Permission_PERMISSION_CARE_TEAM_ADD,
	accessv1.Permission_PERMISSION_CARE_TEAM_REMOVE,
}

// patientRights answers what patients ask for, and keeps the ledger of disclosures.
var patientRights = []accessv1.Permission{
	accessv1.Permission_PERMISSION_RIGHTS_RECEIVE,
	accessv1.Permission_PERMISSION_RIGHTS_READ,
	accessv1.Permission_PERMISSION_RIGHTS_VERIFY,
	accessv1.Permission_PERMISSION_RIGHTS_MANAGE,
	accessv1.Permission_PERMISSION_RIGHTS_DECIDE,
	accessv1.Permission_PERMISSION_RIGHTS_AMEND,
	accessv1.Permission_PERMISSION_RIGHTS_TOKENS_ISSUE,
	accessv1.Permission_PERMISSION_RIGHTS_EXPORT,
	accessv1.Permission_PERMISSION_DISCLOSURES_READ,
	accessv1.Permission_PERMISSION_DISCLOSURES_RECORD,
	accessv1.Permission_PERMISSION_DISCLOSURES_SUSPEND,
	accessv1.Permission_PERMISSION_PATIENT_CONSENTS_READ,
	accessv1.Permission_PERMISSION_PATIENT_CONSENTS_RECORD,
}

var appointments = []accessv1.Permission{
	accessv1.Permission_PERMISSION_APPOINTMENTS_READ,
	accessv1.Permission_PERMISSION_APPOINTMENTS_LIST,
	accessv1.Permission_PERMISSION_APPOINTMENTS_CREATE,
	accessv1.Permission_PERMISSION_APPOINTMENTS_UPDATE,
	accessv1.Permission_PERMISSION_APPOINTMENTS_DELETE,
	accessv1.Permission_PERMISSION_SCHEDULE_READ,
	accessv1.Permission_PERMISSION_SCHEDULE_UPDATE,
}

// keeping is what decides how long records are kept and when they end. Everything that
// destroys takes two persons, or the end of the retention.
var keeping = []accessv1.Permission{
	accessv1.Permission_PERMISSION_LEGAL_HOLDS_READ,
	accessv1.Permission_PERMISSION_LEGAL_HOLDS_PLACE,
	accessv1.Permission_PERMISSION_LEGAL_HOLDS_RELEASE,
	accessv1.Permission_PERMISSION_RETENTION_READ,
	accessv1.Permission_PERMISSION_RETENTION_UPDATE,
	accessv1.Permission_PERMISSION_PATIENTS_PURGE,
	accessv1.Permission_PERMISSION_ERASURES_READ,
	accessv1.Permission_PERMISSION_ERASURES_REQUEST,
	accessv1.Permission_PERMISSION_ERASURES_DECIDE,
	accessv1.Permission_PERMISSION_PRACTICE_EXIT_READ,
	accessv1.Permission_PERMISSION_PRACTICE_EXIT_REQUEST,
	accessv1.Permission_PERMISSION_PRACTICE_EXIT_APPROVE,
	accessv1.Permission_PERMISSION_PRACTICE_EXPORT,
}

// superadmin runs the installation and sees no patient: practices, other
// superadmins, the platform's audit log and backups.
var superadmin = set(self, users, audit, incidents, governing, vulnerabilities, containing, []accessv1.Permission{
	accessv1.Permission_PERMISSION_PRACTICES_CREATE,
	accessv1.Permission_PERMISSION_PRACTICES_LIST,
	accessv1.Permission_PERMISSION_PRACTICES_UPDATE,
	accessv1.Permission_PERMISSION_BACKUPS_CREATE,
	accessv1.Permission_PERMISSION_BACKUPS_READ,
	accessv1.Permission_PERMISSION_BACKUPS_LIST,
	accessv1.Permission_PERMISSION_BACKUPS_RESTORE,
	accessv1.Permission_PERMISSION_AUDIT_COMPLETENESS_READ,
	accessv1.Permission_PERMISSION_AUDIT_RETENTION_READ,
	accessv1.Permission_PERMISSION_AUDIT_RETENTION_RUN,
	accessv1.Permission_PERMISSION_BAA_RECORD,
	accessv1.Permission_PERMISSION_BLOCKS_LIST,
	accessv1.Permission_PERMISSION_BLOCKS_DELETE,
})

// admin runs a practice. PATIENTS_SCOPE_PRACTICE lets an admin manage care
// teams and imports of any patient, but no permission here reads a chart.
var admin = set(self, users, staffing, audit, incidents, careTeam, governing, messaging, keeping, keyCare, []accessv1.Permission{
	accessv1.Permission_PERMISSION_PRACTICES_UPDATE,
	accessv1.Permission_PERMISSION_BILLING_SETTINGS_READ,
	accessv1.Permission_PERMISSION_BILLING_SETTINGS_UPDATE,
	accessv1.Permission_PERMISSION_PATIENTS_IMPORT,
	accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE,
	accessv1.Permission_PERMISSION_ROLES_MANAGE,
	accessv1.Permission_PERMISSION_POLICY_READ,
	accessv1.Permission_PERMISSION_POLICY_UPDATE,
	accessv1.Permission_PERMISSION_MESSAGES_REVIEW,
	accessv1.Permission_PERMISSION_CAMPAIGNS_MANAGE,
	accessv1.Permission_PERMISSION_GLASS_REVIEW,
	accessv1.Permission_PERMISSION_GLASS_DESIGNATE,
	accessv1.Permission_PERMISSION_VIPS_MANAGE,
	accessv1.Permission_PERMISSION_VIPS_LIST,
	accessv1.Permission_PERMISSION_DECOYS_MANAGE,
	accessv1.Permission_PERMISSION_DECOYS_LIST,
	accessv1.Permission_PERMISSION_SCHEDULE_READ,
	accessv1.Permission_PERMISSION_SCHEDULE_UPDATE,
})

// doctor treats patients. No billing settings (claim DC-04), no user
// administration; USERS_READ and USERS_LIST are there to find the staff to
// assign, and show no contact data.
var doctor = set(self, staffing, careTeam, appointments, messaging, patientRights, []accessv1.Permission{
	accessv1.Permission_PERMISSION_USERS_READ,
	accessv1.Permission_PERMISSION_USERS_LIST,

	accessv1.Permission_PERMISSION_PATIENTS_READ,
	accessv1.Permission_PERMISSION_PATIENTS_LIST,
	accessv1.Permission_PERMISSION_PATIENTS_SEARCH,
	accessv1.Permission_PERMISSION_PATIENTS_CREATE,
	accessv1.Permission_PERMISSION_PATIENTS_UPDATE,
	accessv1.Permission_PERMISSION_PATIENTS_DELETE,
	accessv1.Permission_PERMISSION_PATIENTS_IMPORT,
	accessv1.Permission_PERMISSION_PATIENTS_NATIONAL_ID_READ,
	accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ,
	accessv1.Permission_PERMISSION_GLASS_BREAK,
	accessv1.Permission_PERMISSION_REFERRALS_CREATE,
	accessv1.Permission_PERMISSION_REFERRALS_LIST,
	accessv1.Permission_PERMISSION_REFERRALS_DECIDE,
	accessv1.Permission_PERMISSION_REFERRALS_WITHDRAW,

	accessv1.Permission_PERMISSION_NOTES_READ,
	accessv1.Permission_PERMISSION_NOTES_LIST,
	accessv1.Permission_PERMISSION_NOTES_CREATE,
	accessv1.Permission_PERMISSION_NOTES_UPDATE,
	accessv1.Permission_PERMISSION_NOTES_DELETE,
	accessv1.Permission_PERMISSION_DOCUMENTS_READ,
	accessv1.Permission_PERMISSION_DOCUMENTS_LIST,
	accessv1.Permission_PERMISSION_DOCUMENTS_CREATE,
	accessv1.Permission_PERMISSION_DOCUMENTS_DELETE,

	accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ,
	accessv1.Permission_PERMISSION_PRESCRIPTIONS_LIST,
	accessv1.Permission_PERMISSION_PRESCRIPTIONS_CREATE,
	accessv1.Permission_PERMISSION_PRESCRIPTIONS_UPDATE,
	accessv1.Permission_PERMISSION_PRESCRIPTIONS_DELETE,

	accessv1.Permission_PERMISSION_APPOINTMENTS_REASON_READ,

	accessv1.Permission_PERMISSION_FHIR_READ,
	accessv1.Permission_PERMISSION_FHIR_LIST,
	accessv1.Permission_PERMISSION_FHIR_HISTORY_READ,
	accessv1.Permission_PERMISSION_ENCOUNTERS_READ,
	accessv1.Permission_PERMISSION_OBSERVATIONS_READ,
	accessv1.Permission_PERMISSION_CONDITIONS_READ,
	accessv1.Permission_PERMISSION_PROCEDURES_READ,
	accessv1.Permission_PERMISSION_IMMUNIZATIONS_READ,
	accessv1.Permission_PERMISSION_ALLERGIES_READ,
	accessv1.Permission_PERMISSION_CARE_PLANS_READ,
	accessv1.Permission_PERMISSION_DIAGNOSTICS_READ,
	accessv1.Permission_PERMISSION_CLAIMS_READ,
	accessv1.Permission_PERMISSION_DIRECTORY_READ,
	accessv1.Permission_PERMISSION_CLINICAL_OTHER_READ,
	accessv1.Permission_PERMISSION_FHIR_CREATE,
	accessv1.Permission_PERMISSION_FHIR_UPDATE,
	accessv1.Permission_PERMISSION_FHIR_DELETE,
	accessv1.Permission_PERMISSION_FHIR_PROCESS,
	accessv1.Permission_PERMISSION_FHIR_EXPORT,
	accessv1.Permission_PERMISSION_DIRECTORY_WRITE,
})

// nurse cares for the patients of the doctors the member acts for. No national
// identifier, and prescriptions are read, never written.
var nurse = set(self, appointments, messaging, []accessv1.Permission{
	accessv1.Permission_PERMISSION_PATIENTS_READ,
	accessv1.Permission_PERMISSION_PATIENTS_LIST,
	accessv1.Permission_PERMISSION_PATIENTS_SEARCH,
	accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ,
	accessv1.Permission_PERMISSION_CARE_TEAM_READ,
	accessv1.Permission_PERMISSION_GLASS_BREAK,

	accessv1.Permission_PERMISSION_NOTES_READ,
	accessv1.Permission_PERMISSION_NOTES_LIST,
	accessv1.Permission_PERMISSION_NOTES_CREATE,
	accessv1.Permission_PERMISSION_DOCUMENTS_READ,
	accessv1.Permission_PERMISSION_DOCUMENTS_LIST,
	accessv1.Permission_PERMISSION_DOCUMENTS_CREATE,

	accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ,
	accessv1.Permission_PERMISSION_PRESCRIPTIONS_LIST,

	accessv1.Permission_PERMISSION_APPOINTMENTS_REASON_READ,

	accessv1.Permission_PERMISSION_FHIR_READ,
	accessv1.Permission_PERMISSION_FHIR_LIST,
	accessv1.Permission_PERMISSION_OBSERVATIONS_READ,
	accessv1.Permission_PERMISSION_CONDITIONS_READ,
	accessv1.Permission_PERMISSION_IMMUNIZATIONS_READ,
	accessv1.Permission_PERMISSION_ALLERGIES_READ,
	accessv1.Permission_PERMISSION_CARE_PLANS_READ,
})

// receptionist keeps the calendar: when and who, not why. No prescriptions, no
// notes, no national identifier, no raw FHIR (claim DC-04).
var receptionist = set(self, appointments, messaging, []accessv1.Permission{
	accessv1.Permission_PERMISSION_PATIENTS_READ,
	accessv1.Permission_PERMISSION_PATIENTS_LIST,
	accessv1.Permission_PERMISSION_PATIENTS_SEARCH,
	accessv1.Permission_PERMISSION_PATIENTS_CREATE,
	accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ,
})

var catalogue = []struct {
	role        Role
	permissions access.Permissions
}{
	{Role{Kind: accessv1.RoleKind_ROLE_KIND_SUPERADMIN}, superadmin},
	{Role{Kind: accessv1.RoleKind_ROLE_KIND_ADMIN}, admin},
	{Role{Kind: accessv1.RoleKind_ROLE_KIND_DOCTOR}, doctor},
	{Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Nurse}, nurse},
	{Role{Kind: accessv1.RoleKind_ROLE_KIND_STAFF, Template: Receptionist}, receptionist},
}

// All returns every role there is, templates of STAFF one by one.
func All() []Role {
	all := make([]Role, len(catalogue))
	for i, entry := range catalogue {
		all[i] = entry.role
	}
	return all
}

// Of returns what the role may do; an unknown role may do nothing.
func Of(r Role) access.Permissions {
	for _, entry := range catalogue {
		if entry.role == r {
			return entry.permissions
		}
	}
	return access.Permissions{}
}

// Known reports whether the role is in the catalogue: one of the four kinds,
// with a template exactly where the kind is STAFF.
func Known(r Role) bool {
	return slices.ContainsFunc(All(), func(known Role) bool { return known == r })
}

// AtAssurance takes away what a session of the level may not do.
func AtAssurance(held access.Permissions, level accessv1.Assurance) access.Permissions {
	if level >= accessv1.Assurance_ASSURANCE_AAL2 {
		return held
	}
	return held.And(singleFactor)
}

func set(groups ...[]accessv1.Permission) access.Permissions {
	return access.NewPermissions(slices.Concat(groups...)...)
}
