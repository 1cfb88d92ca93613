// Package callertest makes a signing key, its key set and caller tokens for the
// tests of a service. Product code never imports it.
package callertest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
)

// Authority stands for auth: it signs what a test asks for.
type Authority struct {
	// KeyFile holds the private key (PEM, PKCS #8), Keys the key set that verifiers read.
	KeyFile, Keys string
	Signer        *caller.Signer
}

// New makes an authority in a folder of the test.
func New(t testing.TB) *Authority {
	t.Helper()
	dir := t.TempDir()
	a := &Authority{KeyFile: filepath.Join(dir, "caller.key"), Keys: filepath.Join(dir, "callers.jwks")}
	WriteKey(t, a.KeyFile)
	var err error
	a.Signer, err = caller.NewSigner(a.KeyFile)
	require.NoError(t, err)
	a.Publish(t, a.Signer.Public())
	return a
}

// Publish replaces the key set, at once as a mounted secret does.
func (a *Authority) Publish(t testing.TB, keys ...ed25519.PublicKey) {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(a.Keys), "jwks")
	require.NoError(t, err)
	require.NoError(t, caller.WriteJWKS(f, keys...))
	require.NoError(t, f.Close())
	require.NoError(t, os.Rename(f.Name(), a.Keys))
}

// Token signs a token for c, valid from now.
func (a *Authority) Token(t testing.TB, c caller.Caller) string {
	t.Helper()
	token, err := a.Signer.Sign(c, time.Now())
	require.NoError(t, err)
	return token
}

// Doctor returns a doctor of a new practice with a second factor and the given permissions.
func Doctor(audience accessv1.Service, permissions ...accessv1.Permission) caller.Caller {
	return caller.Caller{
		User: uuid.Must(uuid.NewV7()), Practice: uuid.Must(uuid.NewV7()), Session: uuid.Must(uuid.NewV7()),
		Username: "dr.smith", Role: accessv1.RoleKind_ROLE_KIND_DOCTOR, Template: "doctor",
		Assurance:   accessv1.Assurance_ASSURANCE_AAL2,
		Permissions: access.NewPermissions(permissions...),
		Purpose:     accessv1.Purpose_PURPOSE_TREATMENT,
		Address:     "192.0.2.7", Audience: audience,
	}
}

// WriteKey writes a new Ed25519 key as PEM in PKCS #8 form.
func WriteKey(t testing.TB, path string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}
