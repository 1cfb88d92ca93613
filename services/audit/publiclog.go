package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
	"github.com/carekeep/carekeep/services/audit/internal/witnesses"
)

// Tiles is the public form of the log.
type Tiles struct {
	// Listen is host:port; empty: the log is not public.
	Listen string `yaml:"listen"`
}

// Validate implements config.Validator.
func (t Tiles) Validate() error {
	if t.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(t.Listen); err != nil {
		return fmt.Errorf("listen: %q is not host:port", t.Listen)
	}
	return nil
}

// Witness is somebody else's server that cosigns checkpoints (C2SP tlog-witness).
type Witness struct {
	// URL is the submission prefix.
	URL string `yaml:"url" config:"required"`
	// Key is what its cosignatures are verified by: name+hash+key, of type 4.
	Key string `yaml:"key" config:"required"`
}

// Validate implements config.Validator.
func (w Witness) Validate() error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("url: %q is not like https://witness.example/prefix", w.URL)
	}
	if _, err := ledger.ParseWitness(w.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return nil
}

// loopback says whether a host is this machine, where a witness of one's own needs no TLS.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// circle is the witnesses of the settings.
func (s *Settings) circle(entries *store.Store, log *slog.Logger, now func() time.Time) (*witnesses.Circle, error) {
	o := witnesses.Options{Store: entries, Log: log, Now: now}
	for _, w := range s.Witnesses {
		o.Witnesses = append(o.Witnesses, witnesses.Witness{URL: w.URL, Key: w.Key})
	}
	return witnesses.New(o)
}
