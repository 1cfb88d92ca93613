package server

import (
	"errors"
	"fmt"
	"net"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// Config is what every gRPC service of carekeep is configured with.
type Config struct {
	// Listen is the address to serve on, host:port; port 0 takes a free one.
	Listen string `yaml:"listen" config:"required"`
	// TrustDomain is the SPIFFE trust domain of the mesh.
	TrustDomain string     `yaml:"trust_domain" config:"required"`
	TLS         mtls.Files `yaml:"tls" config:"required"`
	Callers     Callers    `yaml:"callers" config:"required"`
	Limits      Limits     `yaml:"limits"`
	// Telemetry is off while its endpoint is empty.
	Telemetry telemetry.Config `yaml:"telemetry"`
}

// Callers says how caller tokens are checked.
type Callers struct {
	// Keys is the JWKS file with auth's public keys; it is read again when it changes.
	Keys string `yaml:"keys" config:"path,required"`
}

// Limits bound what a client can make the service hold. Zero means the default.
type Limits struct {
	// ReceiveBytes is the largest message taken; 4 MiB by default.
	ReceiveBytes int `yaml:"receive_bytes"`
	// HeaderBytes is the largest header list taken; 32 KiB by default, room for the largest caller token.
	HeaderBytes int `yaml:"header_bytes"`
	// Streams is how many RPCs one connection may have open; 1000 by default.
	Streams int `yaml:"streams"`
	// DrainSeconds is how long a stopping service lets RPCs end by themselves; 15 by default.
	DrainSeconds int `yaml:"drain_seconds"`
}

const (
	defaultReceiveBytes = 4 << 20
	defaultHeaderBytes  = 32 << 10
	defaultStreams      = 1000
	defaultDrainSeconds = 15
)

// Files returns the identity files together with their trust domain, for mtls.Load.
func (c Config) Files() mtls.Files {
	files := c.TLS
	files.TrustDomain = c.TrustDomain
	return files
}

// Validate refuses settings that would leave the service open or useless.
func (c *Config) Validate() error {
	var found []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		found = append(found, fmt.Errorf("listen: %q is not host:port", c.Listen))
	}
	if c.TrustDomain == "" {
		found = append(found, errors.New("trust_domain: set the SPIFFE trust domain"))
	}
	if c.Callers.Keys == "" {
		found = append(found, errors.New("callers.keys: name the JWKS file with auth's public keys"))
	}
	l := c.Limits
	for name, v := range map[string]int{
		"receive_bytes": l.ReceiveBytes, "header_bytes": l.HeaderBytes,
		"streams": l.Streams, "drain_seconds": l.DrainSeconds,
	} {
		if v < 0 {
			found = append(found, fmt.Errorf("limits.%s: must not be negative", name))
		}
	}
	return errors.Join(found...)
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		value  *int
		preset int
	}{
		{&l.ReceiveBytes, defaultReceiveBytes}, {&l.HeaderBytes, defaultHeaderBytes},
		{&l.Streams, defaultStreams}, {&l.DrainSeconds, defaultDrainSeconds},
	} {
		if *d.value == 0 {
			*d.value = d.preset
		}
	}
	return l
}
