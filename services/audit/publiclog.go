package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/copies"
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
	if err := secureURL(w.URL); err != nil {
		return err
	}
	if _, err := ledger.ParseWitness(w.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return nil
}

// secureURL takes https, and http to this machine.
func secureURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("url: %q is not like https://server.example/prefix", text)
	}
	return nil
}

// loopback says whether a host is this machine, where a server of one's own needs no TLS.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// CheckpointBucket is a bucket of S3 for copies of checkpoints, besides the folder.
type CheckpointBucket struct {
	// URL is the endpoint; empty: no bucket.
	URL    string `yaml:"url"`
	Bucket string `yaml:"bucket"`
	Region string `yaml:"region"`
	// Prefix begins the name of every object.
	Prefix string `yaml:"prefix"`
	// AccessKey and SecretKey; without them those that the machine or the pod has.
	AccessKey config.Secret `yaml:"access_key,omitempty"`
	SecretKey config.Secret `yaml:"secret_key,omitempty"`
	// RetainDays is how long nobody can remove a copy; 2,555 by default.
	RetainDays int `yaml:"retain_days"`
	// Mode is compliance (default) or governance.
	Mode string `yaml:"mode"`
}

const defaultRetainDays = 2555

// Validate implements config.Validator.
func (b *CheckpointBucket) Validate() error {
	if b.URL == "" {
		return nil
	}
	if b.RetainDays == 0 {
		b.RetainDays = defaultRetainDays
	}
	if b.Mode == "" {
		b.Mode = "compliance"
	}
	if err := secureURL(b.URL); err != nil {
		return err
	}
	u, _ := url.Parse(b.URL)
	switch {
	case strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("url: %q names more than the server; the bucket is a setting of its own", b.URL)
	case b.Bucket == "":
		return errors.New("bucket: name the bucket")
	case (b.AccessKey.Value() == "") != (b.SecretKey.Value() == ""):
		return errors.New("access_key, secret_key: give both, or neither for those of the machine or pod")
	case b.RetainDays < 0:
		return errors.New("retain_days: must be 1 or more, or left out for 2555")
	case b.Mode != "compliance" && b.Mode != "governance":
		return fmt.Errorf("mode: %q is neither compliance nor governance", b.Mode)
	}
	return nil
}

// open returns the places for copies: the folder, and the bucket where there is one.
func (b *CheckpointBucket) open(folder *copies.Folder, log *slog.Logger) (copies.Places, error) {
	if b.URL == "" {
		return copies.Places{folder}, nil
	}
	u, err := url.Parse(b.URL)
	if err != nil {
		return nil, fmt.Errorf("checkpoint_bucket.url: %w", err)
	}
	bucket, err := copies.OpenBucket(copies.BucketOptions{
		Endpoint: u.Host, Plaintext: u.Scheme == "http", Bucket: b.Bucket, Region: b.Region, Prefix: b.Prefix,
		AccessKey: b.AccessKey.Value(), SecretKey: b.SecretKey.Value(), RetainDays: b.RetainDays, Governance: b.Mode == "governance", Log: log,
	})
	return copies.Places{folder, bucket}, err
}

// circle is the witnesses of the settings.
func (s *Settings) circle(entries *store.Store, log *slog.Logger, now func() time.Time) (*witnesses.Circle, error) {
	o := witnesses.Options{Store: entries, Log: log, Now: now}
	for _, w := range s.Witnesses {
		o.Witnesses = append(o.Witnesses, witnesses.Witness{URL: w.URL, Key: w.Key})
	}
	return witnesses.New(o)
}
