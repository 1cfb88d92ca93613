package grant_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/roles"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	records = accessv1.Service_SERVICE_RECORDS
	doctor  = accessv1.RoleKind_ROLE_KIND_DOCTOR
	staff   = accessv1.RoleKind_ROLE_KIND_STAFF
	admin   = accessv1.RoleKind_ROLE_KIND_ADMIN
)

func wide(s *app.Settings) {
	s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 100_000, 100_000
}

func gated(s *app.Settings) { s.WaivedGates = nil }

func governance(w *testkit.World) authv1.GovernanceServiceClient {
	return authv1.NewGovernanceServiceClient(w.Auth.Dial("gateway"))
}

func refused(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			require.Equal(t, reason, info.GetReason())
			return
		}
	}
	require.Fail(t, "no reason", "%v", err)
}

func holds(p *testkit.Person, x accessv1.Permission) bool {
	return p.Caller(records).Permissions.Has(x)
}

func TestDH09_DX07_GrantsAreDecidedByAnotherPersonAndExpire(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	const wanted = accessv1.Permission_PERMISSION_ENCOUNTERS_READ

	_, err := g.RequestGrant(nurse.Context(), &authv1.RequestGrantRequest{Permission: accessv1.Permission_PERMISSION_PRESCRIPTIONS_CREATE, Reason: "x", Hours: 1})
	refused(t, err, codes.PermissionDenied, "GRANT_EXCEEDS_CEILING")
	_, err = g.RequestGrant(nurse.Context(), &authv1.RequestGrantRequest{Permission: wanted, Reason: "x", Hours: 9})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	asked, err := g.RequestGrant(nurse.Context(), &authv1.RequestGrantRequest{Permission: wanted, Reason: "night shift", Hours: 2})
	require.NoError(t, err)
	require.False(t, holds(nurse, wanted), "a request gives nothing")
	approved, err := g.DecideGrant(alice.Context(), &authv1.DecideGrantRequest{Name: asked.GetName(), Approve: true})
	require.NoError(t, err)
	require.Equal(t, authv1.GrantState_GRANT_STATE_ACTIVE, approved.GetState())
	require.True(t, holds(nurse, wanted))
	_, err = g.DecideGrant(alice.Context(), &authv1.DecideGrantRequest{Name: asked.GetName()})
	refused(t, err, codes.FailedPrecondition, "GRANT_DECIDED")

	// The session must not go idle while the clock runs.
	for range 11 {
		w.Clock.Advance(10 * time.Minute)
		nurse.Caller(records)
		alice.Caller(records)
	}
	w.Clock.Advance(10*time.Minute - time.Microsecond)
	require.True(t, holds(nurse, wanted), "the hours are not over")
	w.Clock.Advance(time.Microsecond)
	require.False(t, holds(nurse, wanted), "the hours are over")

	again, err := g.RequestGrant(nurse.Context(), &authv1.RequestGrantRequest{Permission: wanted, Reason: "again", Hours: 8})
	require.NoError(t, err)
	_, err = g.DecideGrant(alice.Context(), &authv1.DecideGrantRequest{Name: again.GetName(), Approve: true})
	require.NoError(t, err)
	require.True(t, holds(nurse, wanted))
	_, err = g.RevokeGrant(alice.Context(), &authv1.RevokeGrantRequest{Name: again.GetName()})
	require.NoError(t, err)
	require.False(t, holds(nurse, wanted), "revoked")
}

func TestDC05_DC29_NobodyApprovesTheirOwnRequest(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(alice, "bob", admin, "")
	narrow, err := g.CreateCustomRole(alice.Context(), &authv1.CreateCustomRoleRequest{
		DisplayName: "approver", Kind: admin, Permissions: []accessv1.Permission{accessv1.Permission_PERMISSION_GRANTS_DECIDE},
	})
	require.NoError(t, err)
	_, err = g.SetUserRole(bob.Context(), &authv1.SetUserRoleRequest{Name: bob.User, Role: narrow.GetName()})
	refused(t, err, codes.PermissionDenied, "SELF_ASSIGNMENT")
	_, err = g.SetUserRole(alice.Context(), &authv1.SetUserRoleRequest{Name: bob.User, Role: narrow.GetName()})
	require.NoError(t, err)
	asked, err := g.RequestGrant(bob.Context(), &authv1.RequestGrantRequest{Permission: accessv1.Permission_PERMISSION_POLICY_UPDATE, Reason: "x", Hours: 1})
	require.NoError(t, err)
	_, err = g.DecideGrant(bob.Context(), &authv1.DecideGrantRequest{Name: asked.GetName(), Approve: true})
	refused(t, err, codes.PermissionDenied, "SELF_APPROVAL")
	events := w.Events()
	last := events[len(events)-1]
	require.Equal(t, "SELF_APPROVAL", last.GetReason())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, last.GetOutcome())
	require.GreaterOrEqual(t, last.GetRisk(), auditv1.Risk_RISK_HIGH)
}

func TestDC03_DC04_DX09_CustomRolesStayBelowTheCeiling(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	create := func(kind accessv1.RoleKind, template string, list ...accessv1.Permission) (*authv1.CustomRole, error) {
		return g.CreateCustomRole(alice.Context(), &authv1.CreateCustomRoleRequest{
			DisplayName: uuid.NewString(), Kind: kind, Template: template, Permissions: list,
		})
	}
	_, err := create(staff, "receptionist", accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ)
	refused(t, err, codes.PermissionDenied, "ROLE_EXCEEDS_CEILING")
	_, err = create(doctor, "", accessv1.Permission_PERMISSION_BILLING_SETTINGS_READ)
	refused(t, err, codes.PermissionDenied, "ROLE_EXCEEDS_CEILING")
	_, err = create(staff, "janitor")
	refused(t, err, codes.InvalidArgument, "ROLE_INVALID")

	role, err := create(doctor, "", accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_NOTES_READ,
		accessv1.Permission_PERMISSION_STAFF_MODULES_UPDATE)
	require.NoError(t, err)
	_, err = g.SetUserRole(alice.Context(), &authv1.SetUserRoleRequest{Name: nurse.User, Role: role.GetName()})
	refused(t, err, codes.FailedPrecondition, "ROLE_MISMATCH")

	// Claim DH-30: what the doctor loses, no member keeps through the doctor.
	_, err = w.Auth.AssignStaff(smith.Context(), &authv1.AssignStaffRequest{Parent: smith.User, User: nurse.User})
	require.NoError(t, err)
	require.True(t, holds(nurse, accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ))
	_, err = g.SetUserRole(alice.Context(), &authv1.SetUserRoleRequest{Name: smith.User, Role: role.GetName()})
	require.NoError(t, err)
	require.False(t, holds(smith, accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ), "the mask counts from the next request on")
	require.True(t, holds(smith, accessv1.Permission_PERMISSION_NOTES_READ))
	require.False(t, holds(nurse, accessv1.Permission_PERMISSION_PRESCRIPTIONS_READ))

	_, err = g.DeleteCustomRole(alice.Context(), &authv1.DeleteCustomRoleRequest{Name: role.GetName()})
	refused(t, err, codes.FailedPrecondition, "ROLE_HELD")
	changed, err := g.UpdateCustomRole(alice.Context(), &authv1.UpdateCustomRoleRequest{
		Name: role.GetName(), DisplayName: "few", Etag: role.GetEtag(), Permissions: []accessv1.Permission{accessv1.Permission_PERMISSION_PATIENTS_READ},
	})
	require.NoError(t, err)
	require.False(t, holds(smith, accessv1.Permission_PERMISSION_NOTES_READ))
	_, err = g.UpdateCustomRole(alice.Context(), &authv1.UpdateCustomRoleRequest{Name: role.GetName(), DisplayName: "x", Etag: role.GetEtag()})
	refused(t, err, codes.Aborted, "ETAG_STALE")
	_, err = g.SetUserRole(alice.Context(), &authv1.SetUserRoleRequest{Name: smith.User})
	require.NoError(t, err)
	require.Equal(t, roles.Of(roles.Role{Kind: doctor}), smith.Caller(records).Permissions)
	_, err = g.DeleteCustomRole(alice.Context(), &authv1.DeleteCustomRoleRequest{Name: changed.GetName()})
	require.NoError(t, err)
}

func TestDH30_ADoctorWithANarrowerRoleGrantsNothingThatTheyLack(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	held := roles.Of(roles.Role{Kind: doctor})
	held.Remove(accessv1.Permission_PERMISSION_NOTES_CREATE)
	role, err := g.CreateCustomRole(alice.Context(), &authv1.CreateCustomRoleRequest{DisplayName: "reader", Kind: doctor, Permissions: held.List()})
	require.NoError(t, err)
	_, err = g.SetUserRole(alice.Context(), &authv1.SetUserRoleRequest{Name: smith.User, Role: role.GetName()})
	require.NoError(t, err)
	_, err = w.Auth.AssignStaff(smith.Context(), &authv1.AssignStaffRequest{Parent: smith.User, User: nurse.User})
	require.NoError(t, err)
	require.False(t, holds(nurse, accessv1.Permission_PERMISSION_NOTES_CREATE))
	require.True(t, holds(nurse, accessv1.Permission_PERMISSION_PATIENTS_READ))
	_, err = w.Auth.UpdateStaffModules(smith.Context(), &authv1.UpdateStaffModulesRequest{
		Name: smith.User + "/staff/" + nurse.ID.String(), Modules: []string{"patients", "notes"},
	})
	refused(t, err, codes.PermissionDenied, "GRANT_EXCEEDS_OWN")
}

func TestDH08_DTD26_GatesWithholdPatientDataAndNameThemselves(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide, gated)
	g := governance(w)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	const phi = accessv1.Permission_PERMISSION_PATIENTS_READ
	closed := func(gates ...accessv1.Gate) {
		t.Helper()
		c := smith.Caller(records)
		require.Equal(t, access.NewGates(gates...), c.Gates)
		require.Equal(t, len(gates) == 0, c.Permissions.Has(phi))
		require.Equal(t, len(gates) > 0, c.Withheld.Has(phi))
	}
	train := func(at time.Time) error {
		_, err := g.RecordTraining(alice.Context(), &authv1.RecordTrainingRequest{Name: smith.User, Course: "HIPAA 3", CompleteTime: timestamppb.New(at)})
		return err
	}
	closed(accessv1.Gate_GATE_TRAINING, accessv1.Gate_GATE_ATTESTATION, accessv1.Gate_GATE_BAA)
	refused(t, train(w.Clock.Now().Add(time.Second)), codes.InvalidArgument, "TRAINING_NOT_COUNTED")
	require.NoError(t, train(w.Clock.Now()))
	closed(accessv1.Gate_GATE_ATTESTATION, accessv1.Gate_GATE_BAA)
	start := w.Clock.Now()
	_, err := g.RecordBaa(root.Context(), &authv1.RecordBaaRequest{
		Practice: alice.Practice, Version: "2026", Signatory: "A. Owner", StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.AddDate(3, 0, 0)),
	})
	require.NoError(t, err)
	closed(accessv1.Gate_GATE_ATTESTATION)
	_, err = g.AttestDevice(smith.Context(), &authv1.AttestDeviceRequest{ScreenLock: true, Antivirus: true})
	refused(t, err, codes.InvalidArgument, "ATTESTATION_INCOMPLETE")
	attest := &authv1.AttestDeviceRequest{ScreenLock: true, DiskEncryption: true, Antivirus: true}
	_, err = g.AttestDevice(smith.Context(), attest)
	require.NoError(t, err)
	closed()
	attested := w.Clock.Now()
	w.Clock.Advance(30*24*time.Hour - time.Minute)
	for _, p := range []*testkit.Person{root, alice, smith} {
		p.SignIn()
	}
	closed() // 29 days, 23 hours, 59 minutes
	w.Clock.Advance(attested.AddDate(0, 0, 30).Sub(w.Clock.Now()))
	closed() // thirty days
	w.Clock.Advance(time.Microsecond)
	closed(accessv1.Gate_GATE_ATTESTATION)
	_, err = g.AttestDevice(smith.Context(), attest)
	require.NoError(t, err)
	closed()

	// A new text of the agreement leaves 30 days.
	_, err = g.ReviseBaa(root.Context(), &authv1.ReviseBaaRequest{Version: "2027"})
	require.NoError(t, err)
	closed()
	baa, err := g.GetBaa(alice.Context(), &authv1.GetBaaRequest{Practice: alice.Practice})
	require.NoError(t, err)
	require.Equal(t, w.Clock.Now().Add(30*24*time.Hour), baa.GetEndTime().AsTime())
	w.Clock.Advance(30 * 24 * time.Hour)
	for _, p := range []*testkit.Person{root, alice, smith} {
		p.SignIn()
	}
	closed(accessv1.Gate_GATE_BAA) // and the attestation, of that moment too, counts its thirty days to the end
	_, err = g.RecordBaa(root.Context(), &authv1.RecordBaaRequest{
		Practice: alice.Practice, Version: "2026", Signatory: "A. Owner", StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.AddDate(3, 0, 0)),
	})
	refused(t, err, codes.FailedPrecondition, "BAA_VERSION_SUPERSEDED")

	// Another role takes another training.
	nurse, template := staff, "nurse"
	found, err := w.Auth.GetUser(alice.Context(), &authv1.GetUserRequest{Name: smith.User})
	require.NoError(t, err)
	_, err = w.Auth.UpdateUser(alice.Context(), &authv1.UpdateUserRequest{User: &authv1.User{Name: smith.User, Etag: found.GetEtag(), Role: nurse, Template: template}})
	require.NoError(t, err)
	require.True(t, smith.Caller(records).Gates.Has(accessv1.Gate_GATE_TRAINING))
	refused(t, train(start), codes.InvalidArgument, "TRAINING_NOT_COUNTED")
}

func TestDH09_WhatNobodyConfirmsInAQuarterIsRevoked(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	jones := w.NewUser(alice, "dr.jones", doctor, "")
	nurse := w.NewUser(alice, "nancy", staff, "nurse")
	_, err := w.Auth.AssignStaff(smith.Context(), &authv1.AssignStaffRequest{Parent: smith.User, User: nurse.User})
	require.NoError(t, err)
	require.NoError(t, w.Auth.App.Upkeep(w.Context()))
	items := func() []*authv1.CertificationItem {
		list, err := g.ListCertificationItems(alice.Context(), &authv1.ListCertificationItemsRequest{})
		require.NoError(t, err)
		return list.GetItems()
	}
	require.Empty(t, items(), "nothing is older than the quarter")

	w.Clock.Advance(92 * 24 * time.Hour)
	for range 2 {
		require.NoError(t, w.Auth.App.Upkeep(w.Context()), "opening twice opens once")
	}
	alice.SignIn()
	require.Len(t, items(), 5, "four users and an assignment")
	for _, item := range items() {
		switch item.GetUser() {
		case alice.User:
			_, err = g.Certify(alice.Context(), &authv1.CertifyRequest{Name: item.GetName(), Confirm: true})
			refused(t, err, codes.PermissionDenied, "SELF_APPROVAL")
		case smith.User:
			_, err = g.Certify(alice.Context(), &authv1.CertifyRequest{Name: item.GetName(), Confirm: true})
			require.NoError(t, err)
		}
	}
	w.Clock.Advance(14*24*time.Hour - time.Second)
	require.NoError(t, w.Auth.App.Upkeep(w.Context()))
	jones.SignIn()
	require.Empty(t, jones.Caller(records).Gates)
	w.Clock.Advance(time.Second)
	require.NoError(t, w.Auth.App.Upkeep(w.Context()))
	for _, p := range []*testkit.Person{alice, smith, nurse} {
		p.SignIn()
	}
	require.Equal(t, access.NewGates(accessv1.Gate_GATE_CERTIFICATION), jones.Caller(records).Gates)
	require.False(t, holds(jones, accessv1.Permission_PERMISSION_PATIENTS_READ))
	require.True(t, holds(smith, accessv1.Permission_PERMISSION_PATIENTS_READ), "confirmed")
	require.Empty(t, nurse.Caller(records).ActsFor, "the assignment ended")
	lapsed := 0
	for _, e := range w.Events() {
		if e.GetReason() == "CERTIFICATION_LAPSED" {
			lapsed++
			require.Equal(t, auditv1.Risk_RISK_HIGH, e.GetRisk())
		}
	}
	require.GreaterOrEqual(t, lapsed, 4)

	// The only administrator still governs, and lets the others in again.
	for _, item := range items() {
		if item.GetUser() == jones.User {
			_, err = g.Certify(alice.Context(), &authv1.CertifyRequest{Name: item.GetName(), Confirm: true})
			require.NoError(t, err)
		}
	}
	require.True(t, holds(jones, accessv1.Permission_PERMISSION_PATIENTS_READ))
}

func TestDH09_UnusedPermissionsAreReported(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	_, err := w.Auth.Admit(w.Context(), &authv1.AdmitRequest{
		SessionToken: smith.Session, Audience: records, Method: "/carekeep.records.v1.RecordsService/GetPatient",
		Client: &authv1.Client{Address: smith.Address},
	})
	require.NoError(t, err)
	require.NoError(t, w.Auth.App.Upkeep(w.Context()))
	report, err := g.GetPermissionUse(alice.Context(), &authv1.GetPermissionUseRequest{Name: smith.User})
	require.NoError(t, err)
	require.Equal(t, []accessv1.Permission{accessv1.Permission_PERMISSION_PATIENTS_READ}, report.GetUsed())
	require.Contains(t, report.GetUnused(), accessv1.Permission_PERMISSION_NOTES_DELETE)
	require.NotContains(t, report.GetUnused(), accessv1.Permission_PERMISSION_PATIENTS_READ)
	w.Clock.Advance(90 * 24 * time.Hour)
	alice.SignIn()
	report, err = g.GetPermissionUse(alice.Context(), &authv1.GetPermissionUseRequest{Name: smith.User})
	require.NoError(t, err)
	require.Contains(t, report.GetUnused(), accessv1.Permission_PERMISSION_PATIENTS_READ)
}

func TestDH27_PermissionsAreListedByModule(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	g := governance(w)
	alice := w.NewPractice(w.Superadmin(), "alice")
	list, err := g.ListPermissions(alice.Context(), &authv1.ListPermissionsRequest{})
	require.NoError(t, err)
	modules, n := map[accessv1.Module]bool{}, 0
	for _, group := range list.GetGroups() {
		modules[group.GetModule()] = true
		for _, entry := range group.GetPermissions() {
			n++
			require.NotEmpty(t, entry.GetRoles(), entry.GetPermission())
		}
	}
	require.Equal(t, len(accessv1.Permission_name)-1, n)
	require.GreaterOrEqual(t, n, 50)
	require.False(t, modules[accessv1.Module_MODULE_UNSPECIFIED])
	for _, name := range []string{"APPOINTMENTS", "PATIENTS", "PRESCRIPTIONS", "NOTES", "BILLING", "SETTINGS", "STAFF", "AUDIT", "BACKUP", "COMPLIANCE"} {
		require.True(t, modules[accessv1.Module(accessv1.Module_value["MODULE_"+name])], name)
	}
	policy, err := g.GetPolicy(alice.Context(), &authv1.GetPolicyRequest{})
	require.NoError(t, err)
	changed, err := g.UpdatePolicy(alice.Context(), &authv1.UpdatePolicyRequest{RequirePasskey: true, Etag: policy.GetEtag()})
	require.NoError(t, err)
	require.True(t, changed.GetRequirePasskey())
	events := w.Events()
	require.Equal(t, auditv1.Risk_RISK_HIGH, events[len(events)-1].GetRisk())
	require.True(t, alice.Caller(records).Gates.Has(accessv1.Gate_GATE_FACTOR))
}
