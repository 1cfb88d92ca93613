package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type certificates struct {
	Keys   certificateKeys   `cmd:"" help:"Show the verifier keys of certificates as the gateway names them, to be pinned."`
	Verify verifyCertificate `cmd:"" help:"Verify the signature of a certificate, offline, and show what it says."`
}

type verifyCertificate struct {
	File string `arg:"" placeholder:"FILE" help:"The certificate; - for standard input."`
	Key  string `required:"" help:"The verifier key of certificates, or a file with one key a line. Take it from where you trust, not from whoever gave you the certificate."`
}

// maxCertificate is more than any certificate has.
const maxCertificate = 1 << 20

// Run needs neither session nor network.
func (v *verifyCertificate) Run(t *terminal) error {
	known, err := verifiersOf(v.Key)
	if err != nil {
		return err
	}
	from := t.in
	if v.File != "-" {
		file, err := os.Open(v.File)
		if err != nil {
			return fmt.Errorf("open the certificate: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read from
		from = file
	}
	signed, err := io.ReadAll(io.LimitReader(from, maxCertificate))
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	c, err := certificate.Open(string(signed), known)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s\nThe signature is right.\n", text)
	return err
}

// verifiersOf reads a verifier key, or a file with one key a line.
func verifiersOf(key string) (note.Verifiers, error) {
	if _, err := note.NewVerifier(key); err != nil {
		raw, err := os.ReadFile(key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("--key %q is neither a verifier key (name+hash+key) nor a file", key)
		} else if err != nil {
			return nil, fmt.Errorf("read the key: %w", err)
		}
		key = string(raw)
	}
	_, known, err := ledger.ParseKeys(key)
	return known, err
}

type certificateKeys struct{ kept }

// Run prints one key a line, the newest last.
func (c *certificateKeys) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	keys, err := namedKeys(ctx, client)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, strings.TrimSpace(keys))
	return nil
}

func namedKeys(ctx context.Context, client *rest.Client) (string, error) {
	var keys recordsv1.CertificateKeys
	if err := client.Call(ctx, http.MethodGet, "/v1/certificateKeys", nil, &keys); err != nil {
		return "", fmt.Errorf("read the keys of certificates: %w", err)
	}
	return keys.GetKeys(), nil
}

// opened verifies a certificate: with the keys that the user brings, else with those that the gateway names.
func opened(ctx context.Context, client *rest.Client, key, signed string) (certificate.Certificate, error) {
	known, err := note.Verifiers(nil), error(nil)
	if key != "" {
		known, err = verifiersOf(key)
	} else {
		var named string
		if named, err = namedKeys(ctx, client); err == nil {
			_, known, err = ledger.ParseKeys(named)
		}
	}
	if err != nil {
		return certificate.Certificate{}, err
	}
	return certificate.Open(signed, known)
}
