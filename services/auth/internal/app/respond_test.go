package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

const (
	endSessions   = authv1.ResponseKind_RESPONSE_KIND_END_SESSIONS
	freezeUser    = authv1.ResponseKind_RESPONSE_KIND_FREEZE_USER
	blockAddress  = authv1.ResponseKind_RESPONSE_KIND_BLOCK_ADDRESS
	cutPractice   = authv1.ResponseKind_RESPONSE_KIND_CUT_PRACTICE
	cutService    = authv1.ResponseKind_RESPONSE_KIND_CUT_SERVICE
	notifyUser    = authv1.ResponseKind_RESPONSE_KIND_NOTIFY_USER
	notifyAdmins  = authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS
	attackAddress = "203.0.113.66"
)

// detected asks for a response as audit does, of a detection about the person.
func detected(p *testkit.Person, kind authv1.ResponseKind) *authv1.RespondRequest {
	return &authv1.RespondRequest{
		Detection: uuid.NewString(), Kind: kind, Title: "A sign-in succeeded after many that failed",
		Practice: p.Practice, User: p.User, Address: attackAddress, BlockSeconds: 600,
	}
}

func TestDH37_TheOwnerOfAnAccountAndTheAdministratorsAreTold(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin, other := w.NewPractice(root, "alice"), w.NewPractice(root, "olga")
	smith := w.NewUser(admin, "dr.smith", doctor, "")
	audit := containmentsOf(w, "audit")
	toUser, toAdmins := detected(smith, notifyUser), detected(smith, notifyAdmins)
	for _, r := range []*authv1.RespondRequest{toUser, toAdmins} {
		for range 3 {
			_, err := audit.Respond(w.Context(), r)
			require.NoError(t, err)
		}
	}
	w.Inbox.Told(smith.Email, "something unusual in how your account is used: A sign-in succeeded after many that failed.")
	w.Inbox.Told(smith.Email, "Reference: detections/"+toUser.GetDetection())
	w.Inbox.Told(admin.Email, "A rule of carekeep found what an administrator has to look at: A sign-in succeeded")
	platform := &authv1.RespondRequest{Detection: uuid.NewString(), Kind: notifyAdmins, Title: "Failed sign-ins to many accounts"}
	_, err := audit.Respond(w.Context(), platform)
	require.NoError(t, err)
	w.Inbox.Told(root.Email, "Reference: detections/"+platform.GetDetection())
	// Once a later mail is there, the earlier ones are.
	require.Equal(t, []int{1, 0}, notices(w, smith), "one mail, however often audit asks")
	require.Equal(t, []int{0, 1}, notices(w, admin))
	require.Equal(t, []int{0, 0}, notices(w, other), "another practice's administrator learns nothing")
}

func TestDH37_TheAdministratorWhoIsSuspectedIsNotWarned(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	admin := w.NewPractice(w.Superadmin(), "alice")
	bob := w.NewUser(admin, "bob", accessv1.RoleKind_ROLE_KIND_ADMIN, "")
	audit := containmentsOf(w, "audit")
	_, err := audit.Respond(w.Context(), detected(bob, notifyAdmins))
	require.NoError(t, err)
	last := detected(bob, notifyUser)
	_, err = audit.Respond(w.Context(), last)
	require.NoError(t, err)
	w.Inbox.Told(bob.Email, "Reference: detections/"+last.GetDetection())
	w.Inbox.Told(admin.Email, "A rule of carekeep found what an administrator has to look at")
	require.Equal(t, []int{1, 0}, notices(w, bob))
	require.Equal(t, []int{0, 1}, notices(w, admin))
}

// Rules count by sign-in names, which strangers choose: a thousand names are not a thousand mails.
func TestDH37_OneRuleMailsOnePersonTenTimesAnHour(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	audit := containmentsOf(w, "audit")
	find := func(title string) string {
		t.Helper()
		r := &authv1.RespondRequest{Detection: uuid.NewString(), Kind: notifyAdmins, Title: title}
		before := len(w.Events())
		_, err := audit.Respond(w.Context(), r)
		require.NoError(t, err)
		return r.GetDetection() + strings.Repeat(" mailed", int(w.Events()[before].GetCount()))
	}
	for n := range 25 {
		require.Equal(t, n < 10, strings.HasSuffix(find("Many failed sign-ins to one account"), " mailed"), n)
		w.Clock.Advance(time.Second)
	}
	w.Inbox.Told(root.Email, "This is number 10 within an hour.")
	other := find("Another rule")
	require.Contains(t, other, " mailed", "the bound is of one rule")
	w.Clock.Advance(time.Hour - 26*time.Second)
	require.NotContains(t, find("Many failed sign-ins to one account"), " mailed")
	w.Clock.Advance(time.Second)
	require.Contains(t, find("Many failed sign-ins to one account"), " mailed")
	w.Inbox.Told(root.Email, "Not mailed since the last one of this kind: 16 more.")
	require.Equal(t, []int{0, 12}, notices(w, root))
}

// notices counts the mails about the person's own account, and those to an administrator.
func notices(w *testkit.World, p *testkit.Person) []int {
	counts := []int{0, 0}
	for _, m := range w.Inbox.Messages(p.Email) {
		for i, subject := range []string{"Unusual activity in your account", "Security alert"} {
			if strings.Contains(m.Text, subject) {
				counts[i]++
			}
		}
	}
	return counts
}

func TestDH37_ResponsesHappenOnceAndAreUndone(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, manySignIns)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	smith := w.NewUser(admin, "dr.smith", doctor, "")
	audit := containmentsOf(w, "audit")
	respond := func(r *authv1.RespondRequest) bool {
		got, err := audit.Respond(w.Context(), r)
		require.NoError(t, err)
		return got.GetRepeated()
	}
	records := accessv1.Service_SERVICE_RECORDS
	ended := detected(smith, endSessions)
	before := len(w.Events())
	require.False(t, respond(ended))
	e := w.Events()[before]
	require.Equal(t, []any{"detections/" + ended.GetDetection(), "RESPONSE_KIND_END_SESSIONS", auditv1.Risk_RISK_CRITICAL, int32(1), smith.ID.String()},
		[]any{e.GetResource(), e.GetReason(), e.GetRisk(), e.GetCount(), e.GetUserId()})
	code, _ := admits(w, smith, records)
	require.Equal(t, codes.Unauthenticated, code)
	w.Clock.Advance(time.Minute)
	smith.SignIn()
	require.True(t, respond(ended))
	code, _ = admits(w, smith, records)
	require.Equal(t, codes.OK, code, "repeated, it ends no session that came later")

	frozen := detected(smith, freezeUser)
	require.False(t, respond(frozen))
	code, _ = admits(w, smith, records)
	require.Equal(t, codes.Unauthenticated, code)
	_, err := authv1.NewDeviceServiceClient(w.Auth.Dial("gateway")).ThawUser(admin.Context(), &authv1.ThawUserRequest{Name: smith.User})
	require.NoError(t, err)
	require.True(t, respond(frozen), "not again after the thaw")

	block := detected(smith, blockAddress)
	require.False(t, respond(block))
	stranger := *admin
	stranger.Address = attackAddress
	_, err = stranger.TrySignIn(w.Auth, testkit.Password, "")
	requireReason(t, err, codes.ResourceExhausted, "ADDRESS_BLOCKED")
	_, err = guardOf(w.Auth).LiftBlock(root.Context(), &authv1.LiftBlockRequest{Network: attackAddress})
	require.NoError(t, err)

	require.False(t, respond(detected(smith, cutPractice)))
	code, _ = admits(w, admin, records)
	require.Equal(t, codes.Unauthenticated, code)
	propose := detected(smith, cutService)
	propose.Service = records
	require.False(t, respond(propose))
	code, _ = admits(w, root, records)
	require.Equal(t, codes.OK, code, "no rule cuts off a service alone")
	listed, err := containmentsOf(w, "gateway").ListContainments(root.Context(), &authv1.ListContainmentsRequest{OpenOnly: true})
	require.NoError(t, err)
	require.Len(t, listed.GetContainments(), 2)
	w.Clock.Advance(time.Minute)
	root.SignIn()
	_, err = containmentsOf(w, "gateway").ApproveContainment(root.Context(), &authv1.ApproveContainmentRequest{Name: listed.GetContainments()[1].GetName()})
	require.NoError(t, err)
	code, _ = admits(w, root, records)
	require.Equal(t, codes.PermissionDenied, code)
	for _, c := range listed.GetContainments() {
		require.NotEmpty(t, c.GetDetection())
		_, err := containmentsOf(w, "gateway").ReleaseContainment(root.Context(), &authv1.ReleaseContainmentRequest{Name: c.GetName(), Reason: "drill"})
		require.NoError(t, err)
	}
	w.Clock.Advance(time.Minute)
	admin.SignIn()
}

func TestDH53_NoRuleActsAgainstASuperadminAndOnlyAuditAsks(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	root := w.Superadmin()
	admin := w.NewPractice(root, "alice")
	for _, identity := range []string{"gateway", "records", "backup", "ctl", "auth"} {
		_, err := containmentsOf(w, identity).Respond(w.Context(), detected(admin, endSessions))
		requireReason(t, err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED")
	}
	audit := containmentsOf(w, "audit")
	for _, kind := range []authv1.ResponseKind{endSessions, freezeUser, cutPractice} {
		_, err := audit.Respond(w.Context(), detected(root, kind))
		requireReason(t, err, codes.PermissionDenied, "SUPERADMIN_SPARED")
		hidden := detected(root, kind)
		hidden.Practice = admin.Practice // a superadmin is in no practice
		if kind != cutPractice {
			_, err = audit.Respond(w.Context(), hidden)
			requireReason(t, err, codes.FailedPrecondition, "RESPONSE_TARGET_MISSING")
		}
	}
	for _, r := range []*authv1.RespondRequest{
		{Kind: blockAddress, Address: "localhost"}, {Kind: cutService}, {Kind: cutService, Service: accessv1.Service_SERVICE_AUTH}, {Kind: cutPractice}, {Kind: notifyUser},
	} {
		r.Detection, r.Title = uuid.NewString(), "x"
		_, err := audit.Respond(w.Context(), r)
		requireReason(t, err, codes.FailedPrecondition, "RESPONSE_TARGET_MISSING")
	}
	for _, p := range []*testkit.Person{root, admin} {
		code, _ := admits(w, p, accessv1.Service_SERVICE_RECORDS)
		require.Equal(t, codes.OK, code)
	}
}

// Attempts that a limit, a delay or a block refuses name whose account they were about: who counts them, as audit's rules
// do, and who reads the practice's log, sees all of them.
func TestDH37_RefusedAttemptsNameTheAccount(t *testing.T) {
	t.Parallel()
	w := testkit.New(t)
	admin := w.NewPractice(w.Superadmin(), "alice")
	w.Clock.Advance(time.Minute)
	before := len(w.Events())
	for range 7 {
		_, _ = admin.TrySignIn(w.Auth, "a guess", "")
	}
	events := w.Events()[before:]
	require.Equal(t, []string{"WRONG_PASSWORD", "WRONG_PASSWORD", "WRONG_PASSWORD", "WRONG_PASSWORD", "WRONG_PASSWORD", "SIGN_IN_LIMITED", "SIGN_IN_LIMITED"}, reasonsOf(events))
	for _, e := range events {
		require.Equal(t, []string{admin.ID.String(), admin.Practice}, []string{e.GetUserId(), "practices/" + e.GetPracticeId()})
	}
}
