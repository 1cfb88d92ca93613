package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/gateway/disclosure"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

// Settings are the gateway's configuration; config/gateway.example.yaml explains each.
type Settings struct {
	Listen      string     `yaml:"listen" config:"required"`
	TrustDomain string     `yaml:"trust_domain" config:"required"`
	TLS         edge.TLS   `yaml:"tls"`
	Mesh        mtls.Files `yaml:"mesh"`
	Upstreams   Upstreams  `yaml:"upstreams"`
	// Disclosure is for who finds a vulnerability.
	Disclosure disclosure.Config `yaml:"disclosure"`

	TrustedProxies []string `yaml:"trusted_proxies"`
	AllowedOrigins []string `yaml:"allowed_origins"`

	Limits    edge.Limits      `yaml:"limits"`
	Telemetry telemetry.Config `yaml:"telemetry"`
}

// Upstreams are the addresses of the services, host:port.
type Upstreams struct {
	Auth    string `yaml:"auth" config:"required"`
	Records string `yaml:"records" config:"required"`
	// FHIR is the FHIR API of records, which is HTTP.
	FHIR  string `yaml:"fhir" config:"required"`
	Audit string `yaml:"audit" config:"required"`
	// Log is where audit serves the log as tiles; empty: the log is not public.
	Log    string `yaml:"log"`
	Backup string `yaml:"backup" config:"required"`
}

// Validate refuses what would serve wrongly or not at all.
func (s *Settings) Validate() error {
	problems := []error{hostPort("listen", s.Listen), s.Disclosure.Validate()}
	for name, address := range map[string]string{
		"upstreams.auth": s.Upstreams.Auth, "upstreams.records": s.Upstreams.Records, "upstreams.fhir": s.Upstreams.FHIR,
		"upstreams.audit": s.Upstreams.Audit, "upstreams.backup": s.Upstreams.Backup,
	} {
		problems = append(problems, hostPort(name, address))
	}
	if s.Upstreams.Log != "" {
		problems = append(problems, hostPort("upstreams.log", s.Upstreams.Log))
	}
	if _, err := edge.ParseProxies(s.TrustedProxies); err != nil {
		problems = append(problems, fmt.Errorf("trusted_proxies: %w", err))
	}
	for _, origin := range s.AllowedOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			problems = append(problems, fmt.Errorf("allowed_origins: %q is not an origin such as https://app.clinic.example", origin))
		}
	}
	s.Mesh.TrustDomain = s.TrustDomain
	return errors.Join(problems...)
}

func hostPort(key, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s: %q is not host:port", key, address)
	}
	return nil
}
