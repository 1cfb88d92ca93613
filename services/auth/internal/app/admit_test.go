package app_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestAdmitNamesWhoAsksAndForWhat(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	alice := w.NewPractice(w.Superadmin(), "alice")
	smith := w.NewUser(alice, "dr.smith", doctor, "")
	c := smith.Caller(records)
	require.Equal(t, smith.ID, c.User)
	require.Equal(t, alice.Practice, "practices/"+c.Practice.String())
	require.Equal(t, "dr.smith", c.Username)
	require.Equal(t, accessv1.Purpose_PURPOSE_OPERATIONS, c.Purpose)
	require.Equal(t, smith.Address, c.Address)
	require.Equal(t, records, c.Audience)
	require.Equal(t, 60*time.Second, c.Expires.Sub(w.Clock.Now().Truncate(time.Second)))

	events := w.Events()
	last := events[len(events)-1]
	require.Equal(t, accessv1.Action_ACTION_ADMIT, last.GetAction())
	require.Equal(t, "dr.smith", last.GetUsername())
	require.Equal(t, c.Practice.String(), last.GetPracticeId())
	require.Equal(t, c.Session.String(), last.GetSessionId())
	require.Equal(t, "/carekeep.auth.v1.AuthService/Test", last.GetResource())
	require.Equal(t, accessv1.Purpose_PURPOSE_OPERATIONS, last.GetPurpose())
	require.Equal(t, accessv1.Service_SERVICE_GATEWAY, last.GetCaller())

	_, err := w.Auth.Admit(w.Context(), &authv1.AdmitRequest{
		SessionToken: alice.Session, Audience: records, Method: "m", Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
	})
	requireReason(t, err, codes.PermissionDenied, "PURPOSE_NOT_ALLOWED")
	response, err := w.Auth.Admit(w.Context(), &authv1.AdmitRequest{
		SessionToken: smith.Session, Audience: records, Method: "m", Purpose: accessv1.Purpose_PURPOSE_PAYMENT,
	})
	require.NoError(t, err)
	verifier, err := caller.NewVerifier(w.Callers.Keys, accessv1.Service_SERVICE_AUDIT, w.Clock.Now)
	require.NoError(t, err)
	defer verifier.Close()
	_, err = verifier.Verify(response.GetCallerToken())
	require.Error(t, err, "a token for records is worth nothing at audit")
}

func TestAdmitRefusesWhatIsNoSession(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	for _, token := range []string{"x", "cks_", root.Session + "x", root.Session[:len(root.Session)-1], "CKS_" + root.Session[4:]} {
		root.Session, token = token, root.Session
		_, err := root.Admit(w.Auth, records, false)
		requireReason(t, err, codes.Unauthenticated, "SESSION_INVALID")
		root.Session = token
	}
	events := w.Events()
	require.Equal(t, "SESSION_UNKNOWN", events[len(events)-1].GetReason())
	require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[len(events)-1].GetOutcome())
}

// Every Admit leaves exactly one event, also where many went in one batch.
func TestDH16_EachOfManyAdmitsIsRecordedOnce(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	before := len(w.Events())
	var race sync.WaitGroup
	for i := range 90 {
		race.Go(func() {
			p := *[]*testkit.Person{root, alice, alice}[i%3]
			if i%3 == 2 {
				p.Session = "cks_unknown"
			}
			_, err := p.Admit(w.Auth, records, false)
			if (err != nil) != (i%3 == 2) {
				t.Error(i, err)
			}
		})
	}
	race.Wait()
	counts := map[string]int{}
	for _, e := range w.Events()[before:] {
		counts[e.GetUsername()+" "+e.GetOutcome().String()]++
	}
	require.Equal(t, map[string]int{"root OUTCOME_OK": 30, "alice OUTCOME_OK": 30, " OUTCOME_DENIED": 30}, counts)
}

// Admits of many users in batches, at two replicas, while sessions are opened
// and ended: nobody waits for a deadlock to be broken.
func TestAdmitDoesNotDeadlock(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	other := w.Replica()
	people := []*testkit.Person{root}
	for _, name := range []string{"p-1", "p-2", "p-3"} {
		people = append(people, w.NewPractice(root, name))
	}
	var race sync.WaitGroup
	for i := range 16 {
		race.Go(func() {
			for j := range 20 {
				p := *people[(i+j)%len(people)]
				auth := []*testkit.Auth{w.Auth, other}[(i/2+j)%2]
				if i%8 == 0 && j%5 == 0 {
					if _, err := p.TrySignIn(auth, testkit.Password, ""); err != nil {
						t.Error(err)
					}
					continue
				}
				if _, err := p.Admit(auth, records, false); err != nil && status.Code(err) != codes.Unauthenticated {
					t.Error(err)
				}
			}
		})
	}
	race.Wait()
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		var deadlocks int
		require.NoError(t, conn.QueryRow(ctx, "SELECT deadlocks FROM pg_stat_database WHERE datname = $1", w.Database).Scan(&deadlocks))
		require.Zero(t, deadlocks)
	})
}

func TestPurgeForgetsAfterNinetyDays(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	_, _ = w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: "nobody", Password: "x", Client: &authv1.Client{Address: "192.0.2.1"}})
	count := func(table string) (n int) {
		w.Admin(func(ctx context.Context, conn *pgx.Conn) {
			_, err := conn.Exec(ctx, "SELECT purge($1)", w.Clock.Now())
			require.NoError(t, err)
			require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{table}.Sanitize()).Scan(&n))
		})
		return n
	}
	require.Positive(t, count("attempts"))
	w.Clock.Advance(11 * time.Minute)
	require.Zero(t, count("attempts"))
	w.Clock.Advance(90 * 24 * time.Hour)
	require.Equal(t, 1, count("sessions"))
	require.Equal(t, 1, count("invitations"))
	w.Clock.Advance(24 * time.Hour)
	require.Zero(t, count("sessions"))
	require.Zero(t, count("invitations"))
	_ = root
}

// The rule of each RPC asks for a permission that some role holds, and for two
// factors wherever it is about more than the caller's own account.
func TestDH27_EveryRuleAsksForAPermissionOfTheRegistry(t *testing.T) {
	t.Parallel()
	seen := map[accessv1.Permission]bool{}
	for _, method := range authv1.AuthService_ServiceDesc.Methods {
		rule, ok := access.RuleOf("/" + authv1.AuthService_ServiceDesc.ServiceName + "/" + method.MethodName)
		require.True(t, ok, method.MethodName)
		if rule.GetAnonymous() {
			continue
		}
		seen[rule.GetPermission()] = true
		if rule.GetPermission() > accessv1.Permission_PERMISSION_SELF_FACTORS_VERIFY {
			require.Equal(t, accessv1.Assurance_ASSURANCE_AAL2, rule.GetAssurance(), method.MethodName)
		}
	}
	require.GreaterOrEqual(t, len(seen), 20)
}
