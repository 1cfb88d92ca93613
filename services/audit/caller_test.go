package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

// signer signs caller tokens as auth does.
var signer = sync.OnceValues(func() (*caller.Signer, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "carekeep-audit-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "signing.key")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return caller.NewSigner(file)
})

func callerKeys(t testing.TB) []byte {
	t.Helper()
	s, err := signer()
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, caller.WriteJWKS(&out, s.Public()))
	return out.Bytes()
}

// everything is what an administrator of a practice may do in the audit service.
var everything = []accessv1.Permission{
	accessv1.Permission_PERMISSION_AUDIT_ENTRIES_LIST, accessv1.Permission_PERMISSION_AUDIT_ENTRIES_READ,
	accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ, accessv1.Permission_PERMISSION_AUDIT_CHECKPOINTS_READ,
	accessv1.Permission_PERMISSION_AUDIT_PROOFS_READ, accessv1.Permission_PERMISSION_AUDIT_EXPORT,
	accessv1.Permission_PERMISSION_AUDIT_ALERTS_LIST, accessv1.Permission_PERMISSION_AUDIT_RULES_LIST,
	accessv1.Permission_PERMISSION_AUDIT_RULES_TEST, accessv1.Permission_PERMISSION_AUDIT_DETECTIONS_LIST,
	accessv1.Permission_PERMISSION_AUDIT_REVIEWS_PERFORM, accessv1.Permission_PERMISSION_AUDIT_REVIEWS_LIST,
	accessv1.Permission_PERMISSION_AUDIT_ACCESS_REPORTS_READ,
}

// client connects to a replica as the gateway does.
func (s *suite) client(r *replica) auditv1.AuditServiceClient {
	s.t.Helper()
	conn, err := identity(s.t, "gateway").Dial(r.server.Addr().String(), accessv1.Service_SERVICE_AUDIT)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return auditv1.NewAuditServiceClient(conn)
}

// as returns a context of a request by an officer of a practice.
func as(t testing.TB, practice uuid.UUID, permissions ...accessv1.Permission) context.Context {
	t.Helper()
	return asUser(t, officer, practice, time.Now(), permissions...)
}

// asUser is as for somebody else of the practice, and for servers whose clock is not ours.
func asUser(t testing.TB, user, practice uuid.UUID, now time.Time, permissions ...accessv1.Permission) context.Context {
	t.Helper()
	s, err := signer()
	require.NoError(t, err)
	c := caller.Caller{
		User: user, Practice: practice, Session: uuid.MustParse("0194c9a0-0000-7000-8000-0000000000e5"), Username: "officer",
		Role: accessv1.RoleKind_ROLE_KIND_ADMIN, Assurance: accessv1.Assurance_ASSURANCE_AAL2,
		Permissions: access.NewPermissions(permissions...), Purpose: accessv1.Purpose_PURPOSE_OPERATIONS,
		Address: "198.51.100.9", Audience: accessv1.Service_SERVICE_AUDIT,
	}
	if practice == uuid.Nil {
		c.Role = accessv1.RoleKind_ROLE_KIND_SUPERADMIN
	}
	token, err := s.Sign(c, now)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return caller.Attach(ctx, token)
}

var officer = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000c0")

// list returns every entry of a practice by paging, newest first.
func list(t testing.TB, client auditv1.AuditServiceClient, practice uuid.UUID, req *auditv1.ListEntriesRequest) []*auditv1.Entry {
	t.Helper()
	var entries []*auditv1.Entry
	for {
		page, err := client.ListEntries(as(t, practice, everything...), req, grpc.WaitForReady(true))
		require.NoError(t, err)
		entries = append(entries, page.GetEntries()...)
		if page.GetNextPageToken() == "" {
			return entries
		}
		req.PageToken = page.GetNextPageToken()
	}
}
