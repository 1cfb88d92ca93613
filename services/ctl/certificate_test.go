package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/certificate"
)

func TestCertificatesAreVerifiedOffline(t *testing.T) {
	private, public, err := note.GenerateKey(rand.Reader, certificate.Signer)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	patient := uuid.New()
	signed, err := certificate.Certificate{Kind: certificate.Erasure, Patient: patient}.Sign(signer)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "certificate")
	require.NoError(t, os.WriteFile(file, []byte(signed), 0o600))
	got := carekeep(t, "", "certificate", "verify", file, "--key", public)
	require.Equal(t, finished, got.code, got.err)
	require.Contains(t, got.out, patient.String())

	forged := strings.Replace(signed, patient.String(), uuid.NewString(), 1)
	require.Equal(t, failed, carekeep(t, forged, "certificate", "verify", "-", "--key", public).code)
	_, other, err := note.GenerateKey(rand.Reader, certificate.Signer)
	require.NoError(t, err)
	require.Equal(t, failed, carekeep(t, signed, "certificate", "verify", "-", "--key", other).code, "signed by somebody else")
}
