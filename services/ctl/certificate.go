package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/ledger"
)

type certificates struct {
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
	keys := v.Key
	if _, err := note.NewVerifier(keys); err != nil {
		raw, err := os.ReadFile(v.Key)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--key %q is neither a verifier key (name+hash+key) nor a file", v.Key)
		} else if err != nil {
			return fmt.Errorf("read the key: %w", err)
		}
		keys = string(raw)
	}
	_, known, err := ledger.ParseKeys(keys)
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
