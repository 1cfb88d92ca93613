package edge

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
)

// recheck is how often, at most, the certificate files are looked at.
const recheck = time.Second

// Certificate is the edge's certificate, read again when its files change, so
// that a renewal needs no restart.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]stamp
	checked time.Time
}

type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads the certificate and its key.
func LoadCertificate(t TLS, log *slog.Logger, now func() time.Time) (*Certificate, error) {
	c := &Certificate{certFile: t.Certificate, keyFile: t.Key, log: log, now: now, checked: now()}
	var err error
	if c.stamp, err = c.stamps(); err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.checked) < recheck {
		return c.current, nil
	}
	c.checked = now
	found, err := c.stamps()
	if err == nil && found == c.stamp {
		return c.current, nil
	}
	if err == nil {
		err = c.read()
	}
	if err != nil {
		c.log.Error("the edge certificate changed and is unusable; the last good one stays in use", telemetry.KeyError, err)
		return c.current, nil
	}
	c.stamp = found
	c.log.Info("edge certificate read again")
	return c.current, nil
}

func (c *Certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("edge certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current = &pair
	return nil
}

func (c *Certificate) stamps() (found [2]stamp, err error) {
	for i, path := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return found, fmt.Errorf("edge certificate: %w", err)
		}
		found[i] = stamp{info.ModTime(), info.Size()}
	}
	return found, nil
}
