package app_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestDMD06_WhatIsInAnotherPracticeDoesNotExist(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice, dave := w.NewPractice(root, "alice"), w.NewPractice(root, "dave")
	smith, nurse := w.NewUser(alice, "dr.smith", doctor, ""), w.NewUser(alice, "nancy", staff, "nurse")
	_, err := assign(w, smith, smith, nurse)
	require.NoError(t, err)
	theirs := w.NewUser(dave, "dr.brown", doctor, "")
	name := smith.User + "/staff/" + nurse.ID.String()

	for what, call := range map[string]func(ctx context.Context) error{
		"GetPractice": func(ctx context.Context) error {
			_, err := w.Auth.GetPractice(ctx, &authv1.GetPracticeRequest{Name: alice.Practice})
			return err
		},
		"UpdatePractice": func(ctx context.Context) error {
			_, err := w.Auth.UpdatePractice(ctx, &authv1.UpdatePracticeRequest{Practice: &authv1.Practice{Name: alice.Practice, DisplayName: "x", Etag: "1"}})
			return err
		},
		"GetUser": func(ctx context.Context) error {
			_, err := w.Auth.GetUser(ctx, &authv1.GetUserRequest{Name: smith.User})
			return err
		},
		"UpdateUser": func(ctx context.Context) error {
			_, err := w.Auth.UpdateUser(ctx, &authv1.UpdateUserRequest{User: &authv1.User{Name: smith.User, DisplayName: "x", Etag: "1"}})
			return err
		},
		"DisableUser": func(ctx context.Context) error {
			_, err := w.Auth.DisableUser(ctx, &authv1.DisableUserRequest{Name: smith.User})
			return err
		},
		"EndUserSessions": func(ctx context.Context) error {
			_, err := w.Auth.EndUserSessions(ctx, &authv1.EndUserSessionsRequest{Name: smith.User})
			return err
		},
		"ListStaff": func(ctx context.Context) error {
			_, err := w.Auth.ListStaff(ctx, &authv1.ListStaffRequest{Parent: smith.User})
			return err
		},
		"AssignStaff, their doctor": func(ctx context.Context) error {
			_, err := w.Auth.AssignStaff(ctx, &authv1.AssignStaffRequest{Parent: smith.User, User: nurse.User})
			return err
		},
		"AssignStaff, our doctor": func(ctx context.Context) error {
			_, err := w.Auth.AssignStaff(ctx, &authv1.AssignStaffRequest{Parent: theirs.User, User: nurse.User})
			return err
		},
		"UnassignStaff": func(ctx context.Context) error {
			_, err := w.Auth.UnassignStaff(ctx, &authv1.UnassignStaffRequest{Name: name})
			return err
		},
		"UpdateStaffModules": func(ctx context.Context) error {
			_, err := w.Auth.UpdateStaffModules(ctx, &authv1.UpdateStaffModulesRequest{Name: name, Modules: []string{"notes"}})
			return err
		},
	} {
		require.Equal(t, codes.NotFound, status.Code(call(dave.Context())), what)
	}
	users, err := w.Auth.ListUsers(dave.Context(), &authv1.ListUsersRequest{})
	require.NoError(t, err)
	require.Len(t, users.GetUsers(), 2)

	// A superadmin sees practices and superadmins, and no user of a practice.
	_, err = w.Auth.GetUser(root.Context(), &authv1.GetUserRequest{Name: smith.User})
	require.Equal(t, codes.NotFound, status.Code(err))
	users, err = w.Auth.ListUsers(root.Context(), &authv1.ListUsersRequest{})
	require.NoError(t, err)
	require.Len(t, users.GetUsers(), 1)
	practices, err := w.Auth.ListPractices(root.Context(), &authv1.ListPracticesRequest{})
	require.NoError(t, err)
	require.Len(t, practices.GetPractices(), 2)

	// An administrator changes the own practice, and cannot disable it.
	renamed, err := w.Auth.UpdatePractice(dave.Context(), &authv1.UpdatePracticeRequest{
		Practice: &authv1.Practice{Name: dave.Practice, DisplayName: "Dave's", Etag: "1"},
	})
	require.NoError(t, err)
	require.Equal(t, "Dave's", renamed.GetDisplayName())
	renamed.Disabled = true
	_, err = w.Auth.UpdatePractice(dave.Context(), &authv1.UpdatePracticeRequest{Practice: renamed})
	requireReason(t, err, codes.PermissionDenied, "PERMISSION_MISSING")
}

// Isolation holds in the database too: a statement without any condition sees one practice, and none without a practice.
func TestDMD06_RowLevelSecurityHoldsAgainstABadQuery(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	alice, dave := w.NewPractice(root, "alice"), w.NewPractice(root, "dave")
	ctx := w.Context()
	conn, err := w.Postgres.Conn(ctx, "auth", "auth_app", w.Database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	tables := []string{"users", "credentials", "activity", "sessions", "assignments", "invitations", "billing_settings", "practices"}
	for _, table := range tables {
		_, err := conn.Exec(ctx, "SELECT count(*) FROM "+table)
		require.Error(t, err, "%s must not be readable without a practice", table)
	}
	for _, table := range []string{"users", "credentials", "activity", "sessions", "invitations", "billing_settings"} {
		for _, p := range []*testkit.Person{alice, dave} {
			_, err := conn.Exec(ctx, "SELECT set_config('carekeep.practice', $1, false)", p.Practice[len("practices/"):])
			require.NoError(t, err)
			column := "user_id"
			switch table {
			case "users":
				column = "id"
			case "billing_settings":
				column = "practice_id"
			}
			rows, err := conn.Query(ctx, "SELECT DISTINCT "+column+"::text FROM "+table)
			require.NoError(t, err)
			ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			want := p.ID.String()
			if table == "billing_settings" {
				want = p.Practice[len("practices/"):]
			}
			require.Equal(t, []string{want}, ids, table)
		}
	}
	_, err = conn.Exec(ctx, "INSERT INTO activity (user_id, practice_id) VALUES ($1, $2)", alice.ID, alice.Practice[len("practices/"):])
	require.ErrorContains(t, err, "row-level security", "writing into another practice")
	tag, err := conn.Exec(ctx, "UPDATE users SET disabled = true WHERE id = $1", alice.ID)
	require.NoError(t, err)
	require.Zero(t, tag.RowsAffected())

	w.Admin(func(ctx context.Context, admin *pgx.Conn) {
		rows, err := admin.Query(ctx, `SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
			WHERE c.relkind = 'r' AND a.attname = 'practice_id' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)`)
		require.NoError(t, err)
		open, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Empty(t, open, "tables with a practice and without row-level security")
	})
}

// Only the gateway is believed about addresses, and only it may ask for caller tokens.
func TestOnlyTheGatewaySpeaksForClients(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, wide)
	root := w.Superadmin()
	for _, identity := range []string{"records", "audit", "ctl"} {
		_, err := w.Auth.Client(identity).Admit(w.Context(), &authv1.AdmitRequest{
			SessionToken: root.Session, Audience: accessv1.Service_SERVICE_AUTH, Method: "x",
		})
		requireReason(t, err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED")
	}
	_, err := w.Auth.Client("ctl").SignIn(w.Context(), &authv1.SignInRequest{Username: "root", Password: "wrong", Client: &authv1.Client{Address: "192.0.2.1"}})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	events := w.Events()
	require.Equal(t, "127.0.0.1", events[len(events)-1].GetAddress(), "the command line's own address, not the claimed one")
	_, err = w.Auth.SignIn(w.Context(), &authv1.SignInRequest{Username: "root", Password: "wrong", Client: &authv1.Client{Address: "not an address"}})
	requireReason(t, err, codes.InvalidArgument, "ADDRESS_INVALID")
}
