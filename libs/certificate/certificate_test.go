package certificate_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/certificate"
)

func keys(tb testing.TB, name string) (note.Signer, note.Verifiers) {
	tb.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	require.NoError(tb, err)
	signer, err := note.NewSigner(private)
	require.NoError(tb, err)
	verifier, err := note.NewVerifier(public)
	require.NoError(tb, err)
	return signer, note.VerifierList(verifier)
}

func sample() certificate.Certificate {
	return certificate.Certificate{
		Kind: certificate.Erasure, ID: uuid.New(), Practice: uuid.New(), Patient: uuid.New(), Citation: "GDPR Art. 17(1)(b)",
		RequestedBy: uuid.New(), RequestTime: time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC), DecidedBy: uuid.New(),
		Time: time.Date(2026, 11, 2, 8, 0, 0, 1000, time.UTC), Keys: []uuid.UUID{uuid.New()},
		Rows: map[string]int64{"documents": 4, "data_keys": 1}, Digest: strings.Repeat("ab", 32),
	}
}

// Whatever byte of a certificate is changed, it does not open.
func TestNoByteOfACertificateCanBeChanged(t *testing.T) {
	signer, known := keys(t, certificate.Signer)
	c := sample()
	signed, err := c.Sign(signer)
	require.NoError(t, err)
	got, err := certificate.Open(signed, known)
	require.NoError(t, err)
	require.Equal(t, c, got)
	for i := range signed {
		other := []byte(signed)
		other[i] ^= 1
		_, err := certificate.Open(string(other), known)
		require.Error(t, err, "byte %d", i)
	}
	_, others := keys(t, certificate.Signer)
	_, err = certificate.Open(signed, others)
	require.Error(t, err, "another key of the same name")
}

// A signature over something else, such as a checkpoint, is no certificate.
func TestOtherSignedTextsAreNoCertificates(t *testing.T) {
	signer, known := keys(t, certificate.Signer)
	for _, text := range []string{
		"carekeep.audit\n4\nAAAA\n", "carekeep certificate of destruction, version 1\n{}\n", "carekeep certificate of destruction, version 1\n{\"a\":1}\n",
	} {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		require.NoError(t, err)
		_, err = certificate.Open(string(signed), known)
		require.ErrorIs(t, err, certificate.ErrMalformed, text)
	}
}
