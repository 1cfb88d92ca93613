// Package app puts the records service together from its configuration.
package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/bulk"
	"github.com/carekeep/carekeep/services/records/internal/fhirapi"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/intake"
	"github.com/carekeep/carekeep/services/records/internal/upkeep"
)

// Settings is the configuration file of the service.
type Settings struct {
	server.Config `yaml:",inline"`
	Database      pg.Config      `yaml:"database" config:"required"`
	Broker        outbox.Broker  `yaml:"broker" config:"required"`
	Transit       transit.Config `yaml:"transit" config:"required"`
	Keys          Keys           `yaml:"keys"`
	Imports       intake.Limits  `yaml:"imports"`
	Upkeep        upkeep.Limits  `yaml:"upkeep"`
	Search        index.Settings `yaml:"search"`
	FHIR          FHIR           `yaml:"fhir" config:"required"`
	// Auth is where auth listens, host:port: it freezes the account of who touches a decoy.
	Auth string `yaml:"auth" config:"required"`
}

// FHIR says where the FHIR API is served.
type FHIR struct {
	// Listen is where the gateway connects to, host:port.
	Listen string `yaml:"listen" config:"required"`
	// Base is the URL of the API as clients know it; links and Location start with it.
	Base           string      `yaml:"base" config:"required"`
	Export         bulk.Limits `yaml:"export"`
	fhirapi.Limits `yaml:",inline"`
}

// Validate implements config.Validator.
func (f FHIR) Validate() error {
	if _, _, err := net.SplitHostPort(f.Listen); err != nil {
		return fmt.Errorf("listen: %q is not host:port", f.Listen)
	}
	u, err := url.Parse(f.Base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != fhirapi.Path || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("base: %q is not like https://clinic.example%s", f.Base, fhirapi.Path)
	}
	if f.ResourceBytes < 0 || f.ResourceBytes > fhirapi.MaxResourceBytes || f.BundleBytes < 0 || f.BundleBytes > fhirapi.MaxBundleBytes {
		return fmt.Errorf("resource_bytes and bundle_bytes must be at most %d and %d", fhirapi.MaxResourceBytes, fhirapi.MaxBundleBytes)
	}
	return f.Export.Validate()
}

// Keys bound how long unwrapped data keys stay in memory, and how many. Zero
// means the default.
type Keys struct {
	CacheSeconds int `yaml:"cache_seconds"` // 300
	CacheMax     int `yaml:"cache_max"`     // 10,000
}

// maxKeys is the most data keys that may stay in memory: about 1.5 KB each.
const maxKeys = 1_000_000

// maxCache is the longest that a data key may stay in memory: until then a right
// to unwrap that was withdrawn in Vault still works.
const maxCache = time.Hour

// Validate implements config.Validator.
func (k Keys) Validate() error {
	switch {
	case k.CacheSeconds < 0 || k.CacheMax < 0:
		return errors.New("cache_seconds and cache_max must be positive, or left out for their defaults")
	case k.CacheMax > maxKeys:
		return errors.New("cache_max must be at most 1000000: keys in memory are what a memory dump gives away")
	case time.Duration(k.CacheSeconds)*time.Second > maxCache:
		return errors.New("cache_seconds must be at most 3600: a key that stays in memory is one that Vault no longer guards")
	}
	return nil
}
