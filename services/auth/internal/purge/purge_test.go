package purge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/purge"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	doctor = accessv1.RoleKind_ROLE_KIND_DOCTOR
	staff  = accessv1.RoleKind_ROLE_KIND_STAFF
)

func wide(s *app.Settings) { s.Limits.SignInPerMinute, s.Limits.RequestsPerMinute = 10_000, 10_000 }

// owners plays the records service: the test of the real one is in services/records.
type owners struct {
	ids  []uuid.UUID
	away bool
}

func (o *owners) Owners(_ context.Context, _ uuid.UUID, users []uuid.UUID) ([]uuid.UUID, error) {
	if o.away {
		return nil, errors.New("records is away")
	}
	var found []uuid.UUID
	for _, id := range users {
		if slices.Contains(o.ids, id) {
			found = append(found, id)
		}
	}
	return found, nil
}

func open(t *testing.T, w *testkit.World) *store.Store {
	t.Helper()
	source, err := w.Postgres.Source("auth")
	require.NoError(t, err)
	pool, err := pg.Open(t.Context(), w.Postgres.Config(w.Database, "auth_app"), source)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	access := pg.NewAccess(pool, pg.Options{Append: outbox.NewCounter().Append})
	t.Cleanup(access.Close)
	return store.New(access, w.Clock.Now)
}

func one[T any](w *testkit.World, sql string, args ...any) T {
	var value T
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		require.NoError(w.T, conn.QueryRow(ctx, sql, args...).Scan(&value))
	})
	return value
}

func TestDH50_EmptyAccountsGoAfterThreeMonths(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	records := &owners{}
	purger := &purge.Purger{Store: open(t, w), Owners: records}
	round := func(want int, why string) {
		t.Helper()
		n, err := purger.Round(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, n, why)
	}
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	empty := w.NewUser(alice, "empty", doctor, "")
	owner := w.NewUser(alice, "owner", doctor, "")
	assigned, nurse := w.NewUser(alice, "assigned", doctor, ""), w.NewUser(alice, "nancy", staff, "nurse")
	active := w.NewUser(alice, "active", staff, "receptionist")
	_, err := w.Auth.AssignStaff(alice.Context(), &authv1.AssignStaffRequest{Parent: assigned.User, User: nurse.User})
	require.NoError(t, err)
	records.ids = []uuid.UUID{owner.ID}
	used := w.Clock.Now()
	ends := used.AddDate(0, 3, 0)

	w.Clock.Advance(ends.Add(-14*24*time.Hour - time.Minute).Sub(w.Clock.Now()))
	round(0, "nobody is due")
	require.Zero(t, one[int](w, "SELECT count(*) FROM users WHERE warned IS NOT NULL"))
	w.Clock.Advance(time.Minute)
	active.SignIn()
	round(0, "warned only")
	require.Equal(t, []string{"empty"}, one[[]string](w, "SELECT array_agg(username) FROM users WHERE warned IS NOT NULL"))
	w.Inbox.Told(empty.Email, "was not used for a long time")

	w.Clock.Advance(ends.Sub(w.Clock.Now()) - time.Second)
	round(0, "a second too early")
	w.Clock.Advance(time.Second)
	records.away = true
	n, err := purger.Round(t.Context())
	require.Error(t, err)
	require.Zero(t, n, "who owns records is not known")
	records.away = false
	round(1, "three months")
	require.Equal(t, []string{"empty"}, one[[]string](w, "SELECT array_agg(username) FROM users WHERE purged IS NOT NULL"),
		"one record, an assignment, users that one made, and use each keep an account")
	require.Equal(t, 1, one[int](w, `SELECT count(*) FROM users u JOIN credentials c ON c.user_id = u.id
		WHERE u.id = $1 AND u.disabled AND u.display_name = '' AND u.email_sealed = '' AND c.password_hash = '' AND c.totp_sealed = ''`, empty.ID))
	require.Zero(t, one[int](w, `SELECT (SELECT count(*) FROM sessions WHERE user_id = $1) + (SELECT count(*) FROM devices WHERE user_id = $1)
		+ (SELECT count(*) FROM networks WHERE user_id = $1) + (SELECT count(*) FROM invitations WHERE user_id = $1)`, empty.ID))
	events := w.Events()
	event := events[len(events)-1]
	require.Equal(t, "ACCOUNT_PURGED", event.GetReason())
	require.Equal(t, empty.User, event.GetResource())
	round(0, "once")

	_, err = empty.TrySignIn(w.Auth, testkit.Password, "")
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	alice.SignIn()
	_, err = w.Auth.CreateUser(alice.Context(), &authv1.CreateUserRequest{
		Username: "empty", DisplayName: "Again", Email: "again@example.org", Role: doctor,
	})
	require.Equal(t, "USERNAME_TAKEN", errs.ReasonOf(err), "the name stays reserved (DH-18)")
	owner.SignIn()
}

// Every table that names a user either holds nothing of a purged one, or is listed here
// with what stays.
func TestDH50_NoFactorOutlivesItsAccount(t *testing.T) {
	t.Parallel()
	phone := testkit.NewPhone(t)
	w := testkit.New(t, wide, phone.Use)
	purger := &purge.Purger{Store: open(t, w), Owners: &owners{}}
	alice := w.NewPractice(w.Superadmin(), "alice")
	empty, other := w.NewUser(alice, "empty", doctor, ""), w.NewUser(alice, "other", doctor, "")
	api := authv1.NewCodeServiceClient(w.Auth.Dial("gateway"))
	for i, p := range []*testkit.Person{empty, other} {
		number := fmt.Sprintf("+1202555012%d", i)
		asked, err := api.EnrolPhone(p.Context(), &authv1.EnrolPhoneRequest{Number: number, Consent: true})
		require.NoError(t, err)
		confirmed, err := api.ConfirmPhone(p.Context(), &authv1.ConfirmPhoneRequest{Challenge: asked.GetChallenge(), Code: phone.Code(number, 1)})
		require.NoError(t, err)
		p.Session = confirmed.GetSession().GetSessionToken()
		_, err = api.GenerateRecoveryCodes(p.Context(), &authv1.GenerateRecoveryCodesRequest{})
		require.NoError(t, err)
		_, err = authv1.NewGuardServiceClient(w.Auth.Dial("gateway")).RequestPasswordReset(w.Context(),
			&authv1.RequestPasswordResetRequest{Username: p.Username, Client: &authv1.Client{Address: p.Address}})
		require.NoError(t, err)
		w.Admin(func(ctx context.Context, conn *pgx.Conn) { // what a registration and its ceremony leave
			_, err := conn.Exec(ctx, `INSERT INTO passkeys
				SELECT gen_random_uuid(), practice_id, id, uuid_send(id), '\x01', 0, false, false, '{}', 'Key', 1, now(), NULL FROM users WHERE id = $1`, p.ID)
			require.NoError(t, err)
			_, err = conn.Exec(ctx, `INSERT INTO ceremonies SELECT gen_random_uuid(), practice_id, 1, sha256('a'), id, now() FROM sessions WHERE user_id = $1`, p.ID)
			require.NoError(t, err)
			_, err = conn.Exec(ctx, "UPDATE credentials SET handle = sha512(uuid_send(user_id)) WHERE user_id = $1", p.ID)
			require.NoError(t, err)
		})
	}
	w.Clock.Advance(100 * 24 * time.Hour)
	other.SignIn()
	_, err := purger.Round(t.Context())
	require.NoError(t, err)
	w.Clock.Advance(14 * 24 * time.Hour)
	n, err := purger.Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)

	// Usage and reviews say what an id did and was allowed; who it was they do not say.
	stays := []string{"credentials", "activity", "permission_use", "certification_items", "certifications"}
	tables := one[[]string](w, `SELECT array_agg(DISTINCT c.relname::text) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE a.attname = 'user_id' AND NOT a.attisdropped AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`)
	require.Contains(t, tables, "passkeys")
	for _, table := range tables {
		if !slices.Contains(stays, table) {
			require.Zero(t, one[int](w, "SELECT count(*) FROM "+table+" WHERE user_id = $1", empty.ID), table)
		}
	}
	for _, table := range []string{"passkeys", "recovery_codes", "phones", "codes", "resets"} {
		require.NotZero(t, one[int](w, "SELECT count(*) FROM "+table+" WHERE user_id = $1", other.ID), table)
	}
	const numbers = `SELECT (SELECT count(*) FROM consents WHERE created_by = $1 AND (revoked IS NULL OR number_sealed <> '' OR token IS NOT NULL))
		+ (SELECT count(*) FROM messages WHERE created_by = $1 AND (token IS NOT NULL OR wide IS NOT NULL))`
	require.Zero(t, one[int](w, numbers, empty.ID), "that there was a consent stays, to which number does not")
	require.Equal(t, 1, one[int](w, "SELECT count(*) FROM consents WHERE created_by = $1", empty.ID))
	require.Equal(t, 2, one[int](w, numbers, other.ID))
	require.Zero(t, one[int](w, "SELECT count(*) FROM ceremonies c LEFT JOIN sessions s ON s.id = c.session_id WHERE s.id IS NULL"))
	require.Equal(t, 1, one[int](w, "SELECT count(*) FROM credentials WHERE user_id = $1 AND factors = 0 AND handle IS NULL", empty.ID))
}

func TestDH50_TheLastAdministratorStays(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	purger := &purge.Purger{Store: open(t, w), Owners: &owners{}}
	root := w.Superadmin()
	alice := w.NewPractice(root, "alice")
	second := w.NewUser(alice, "second", accessv1.RoleKind_ROLE_KIND_ADMIN, "")
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, "UPDATE users SET created_by = $1", root.ID)
		require.NoError(t, err)
	})
	w.Clock.Advance(100 * 24 * time.Hour)
	n, err := purger.Round(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "nobody goes without a warning")
	w.Clock.Advance(14 * 24 * time.Hour)
	n, err = purger.Round(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, one[int](w, "SELECT count(*) FROM users WHERE purged IS NULL AND id = ANY ($1)", []uuid.UUID{alice.ID, second.ID}))
	require.Equal(t, 1, one[int](w, "SELECT count(*) FROM users WHERE purged IS NULL AND id = $1", root.ID))
}

func TestRowsOfFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	db := open(t, w)
	failures := func() int {
		tx := db.In(store.Platform)
		tx.ForgetAttempts()
		require.NoError(t, tx.Read(t.Context()))
		return one[int](w, "SELECT count(*) FROM failures")
	}
	_, err := w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: "nobody", Password: "x", Client: &authv1.Client{Address: "192.0.2.1"}})
	require.Error(t, err)
	w.Clock.Advance(90 * 24 * time.Hour)
	require.Equal(t, 1, failures())
	w.Clock.Advance(time.Microsecond)
	require.Zero(t, failures())
}

func TestDH49_SessionsAreGoneOnDay91(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	db := open(t, w)
	root := w.Superadmin()
	sessions := func() int {
		tx := db.In(store.Platform)
		tx.Purge()
		require.NoError(t, tx.Read(t.Context()))
		return one[int](w, "SELECT count(*) FROM sessions WHERE user_id = $1", root.ID)
	}
	require.Equal(t, 1, sessions())
	w.Clock.Advance(90 * 24 * time.Hour)
	require.Equal(t, 1, sessions(), "day 90")
	w.Clock.Advance(24 * time.Hour)
	require.Zero(t, sessions(), "day 91")
}
