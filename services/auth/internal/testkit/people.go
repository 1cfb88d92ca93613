package testkit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/auth/internal/app"
	"github.com/carekeep/carekeep/services/auth/internal/totp"
)

// Password is everybody's.
const Password = "quark-leuchter-pflaume-42" //nolint:gosec // of users that live as long as a test

// Person is a user with everything it takes to sign in.
type Person struct {
	world    *World
	Username string
	Email    string
	Address  string // where they sign in from
	User     string // users/{uuid}
	ID       uuid.UUID
	Practice string
	Secret   string // of the one-time codes
	Session  string // token of the current session
	Device   string // token of the device, as a browser keeps it
	Agent    string // what the device calls itself
}

// Context is a test's context with a deadline.
func (w *World) Context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.T.Cleanup(cancel)
	return ctx
}

// person is somebody new, each with a network address of their own.
func (w *World) person(username string) *Person {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return &Person{
		world: w, Username: username, Email: username + "@example.org", Agent: "testkit",
		Address: fmt.Sprintf("10.%d.%d.%d", w.next>>16&255, w.next>>8&255, w.next&255),
	}
}

// Superadmin bootstraps the installation.
func (w *World) Superadmin() *Person {
	w.T.Helper()
	p := w.person("root")
	token, err := app.Bootstrap(w.Context(), w.Settings, w.Options(), p.Username, p.Email)
	require.NoError(w.T, err)
	p.accept(token)
	return p
}

// NewPractice makes a practice with an administrator of that name, who is signed in.
func (w *World) NewPractice(root *Person, admin string) *Person {
	w.T.Helper()
	p := w.person(admin)
	created, err := w.Auth.CreatePractice(root.Context(), &authv1.CreatePracticeRequest{
		DisplayName: "Practice of " + admin, AdminUsername: admin, AdminEmail: p.Email,
	})
	require.NoError(w.T, err)
	p.Practice = created.GetName()
	p.accept(w.Inbox.Invitation(p.Email, 1))
	return p
}

// NewUser makes a user in the practice of the administrator, who signs in with two factors.
func (w *World) NewUser(admin *Person, username string, role accessv1.RoleKind, template string) *Person {
	w.T.Helper()
	p := w.Invite(admin, username, role, template)
	p.accept(w.Inbox.Invitation(p.Email, 1))
	return p
}

// Invite makes a user who has not accepted yet.
func (w *World) Invite(admin *Person, username string, role accessv1.RoleKind, template string) *Person {
	w.T.Helper()
	p := w.person(username)
	created, err := w.Auth.CreateUser(admin.Context(), &authv1.CreateUserRequest{
		Username: username, DisplayName: strings.ToUpper(username), Email: p.Email, Role: role, Template: template,
	})
	require.NoError(w.T, err)
	p.Practice = admin.Practice
	p.take(created.GetName())
	return p
}

func (p *Person) take(user string) {
	p.User = user
	p.ID = uuid.MustParse(strings.TrimPrefix(user, "users/"))
}

// accept goes the way of every new user: password, second factor.
func (p *Person) accept(token string) {
	t := p.world.T
	t.Helper()
	auth := p.world.Auth
	accepted, err := auth.AcceptInvitation(p.world.Context(), &authv1.AcceptInvitationRequest{
		InvitationToken: token, Password: Password, Client: p.client(),
	})
	require.NoError(t, err)
	require.Equal(t, authv1.NextStep_NEXT_STEP_ENROL_TOTP, accepted.GetNextStep())
	p.take(accepted.GetUser())
	p.Session, p.Device = accepted.GetSessionToken(), accepted.GetDeviceToken()
	enrolled, err := auth.EnrolTotp(p.Context(), &authv1.EnrolTotpRequest{})
	require.NoError(t, err)
	p.Secret = enrolled.GetSecret()
	confirmed, err := auth.ConfirmTotp(p.Context(), &authv1.ConfirmTotpRequest{TotpCode: p.Code()})
	require.NoError(t, err)
	p.Session = confirmed.GetSessionToken()
}

// Code is the current one-time code.
func (p *Person) Code() string {
	code, err := totp.Code(p.Secret, p.world.Clock.Now())
	require.NoError(p.world.T, err)
	return code
}

// SignIn opens one more session with both factors and keeps its token as the current one.
func (p *Person) SignIn() *authv1.SignInResponse {
	p.world.T.Helper()
	response, err := p.TrySignIn(p.world.Auth, Password, p.Code())
	require.NoError(p.world.T, err)
	p.Session = response.GetSessionToken()
	if token := response.GetDeviceToken(); token != "" {
		p.Device = token
	}
	return response
}

// TrySignIn signs in at a replica.
func (p *Person) TrySignIn(auth *Auth, password, code string) (*authv1.SignInResponse, error) {
	return auth.SignIn(p.world.Context(), &authv1.SignInRequest{
		Username: p.Username, Password: password, TotpCode: code, Client: p.client(),
	})
}

// client is what the gateway would say of the person's device.
func (p *Person) client() *authv1.Client {
	return &authv1.Client{Address: p.Address, UserAgent: p.Agent, DeviceToken: p.Device}
}

// Context carries a fresh caller token for auth, as the gateway would get it.
func (p *Person) Context() context.Context {
	p.world.T.Helper()
	token, err := p.Admit(p.world.Auth, accessv1.Service_SERVICE_AUTH, false)
	require.NoError(p.world.T, err)
	return caller.Attach(p.world.Context(), token)
}

// Admit asks a replica for a caller token in the current session.
func (p *Person) Admit(auth *Auth, audience accessv1.Service, background bool) (string, error) {
	response, err := auth.Admit(p.world.Context(), &authv1.AdmitRequest{
		SessionToken: p.Session, Audience: audience, Method: "/carekeep.auth.v1.AuthService/Test",
		Client: p.client(), Background: background,
		Purpose: accessv1.Purpose_PURPOSE_OPERATIONS, // every role may
	})
	return response.GetCallerToken(), err
}

// Caller is what a service sees of the person in the current session.
func (p *Person) Caller(audience accessv1.Service) *caller.Caller {
	w := p.world
	w.T.Helper()
	token, err := p.Admit(w.Auth, audience, false)
	require.NoError(w.T, err)
	verifier, err := caller.NewVerifier(w.Callers.Keys, audience, w.Clock.Now)
	require.NoError(w.T, err)
	defer verifier.Close()
	c, err := verifier.Verify(token)
	require.NoError(w.T, err)
	return c
}

// Admin runs a function on a superuser's connection to the world's database.
func (w *World) Admin(do func(ctx context.Context, conn *pgx.Conn)) {
	w.T.Helper()
	ctx := w.Context()
	conn, err := w.Postgres.AdminConn(ctx, w.Database)
	require.NoError(w.T, err)
	defer func() { _ = conn.Close(ctx) }()
	do(ctx, conn)
}

// Events are the audit events in the outbox, oldest first: no audit store runs here, so none leaves it.
func (w *World) Events() []*auditv1.Event {
	w.T.Helper()
	var events []*auditv1.Event
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		rows, err := conn.Query(ctx, "SELECT payload FROM outbox ORDER BY id")
		require.NoError(w.T, err)
		payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		require.NoError(w.T, err)
		for _, payload := range payloads {
			batch := &auditv1.Batch{}
			require.NoError(w.T, proto.Unmarshal(payload, batch))
			events = append(events, batch.GetEvents()...)
		}
	})
	return events
}

// Exec changes the world's database behind the service's back.
func (w *World) Exec(sql string, args ...any) {
	w.T.Helper()
	w.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, sql, args...)
		require.NoError(w.T, err)
	})
}
