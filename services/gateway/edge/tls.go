// Package edge is where clients connect: TLS, security headers, limits in bytes
// and time, the client's address, and one span, metric and log line for each
// request. It knows HTTP and nothing of the API behind it.
package edge

import (
	"crypto/tls"
	"fmt"
)

// Profile says which versions of TLS the edge speaks.
type Profile string

const (
	// Strict is TLS 1.3 only.
	Strict Profile = "strict"
	// Compat is TLS 1.2 and 1.3, for clients that cannot do better.
	Compat Profile = "compat"
)

// TLS says what the edge shows to clients.
type TLS struct {
	Certificate string  `yaml:"certificate" config:"path,required"`
	Key         string  `yaml:"key" config:"path,required"`
	Profile     Profile `yaml:"profile"`
}

// Validate fills in the default profile and refuses an unknown one.
func (t *TLS) Validate() error {
	switch t.Profile {
	case "":
		t.Profile = Strict
	case Strict, Compat:
	default:
		return fmt.Errorf("profile %q is unknown; use strict or compat", t.Profile)
	}
	return nil
}

// compatSuites are the TLS 1.2 suites with forward secrecy and an AEAD cipher,
// and no other: Go's own default still accepts CBC.
var compatSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// config makes the TLS configuration of the listener. MinVersion is always
// written out: left open, GODEBUG=tls10server=1 would bring TLS 1.0 back.
func (t TLS) config(c *Certificate) *tls.Config {
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.get,
	}
	if t.Profile == Compat {
		cfg.MinVersion = tls.VersionTLS12
		cfg.CipherSuites = compatSuites
	}
	return cfg
}
