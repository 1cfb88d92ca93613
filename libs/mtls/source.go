package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// recheck is how long a handshake trusts the files without a look at them.
const recheck = time.Second

// Source is one identity and the authorities it trusts, read from files and
// read again by the first handshake after they changed. While new files are
// unusable, say half written, the last good ones stay in use.
type Source struct {
	files  Files
	domain spiffeid.TrustDomain
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	checked time.Time
	stamp   [3]stamp
	// settled is false while a file was written so shortly before it was read that another write
	// could have the same time: it is then read once more.
	settled bool
	svid    *x509svid.SVID
	bundle  *x509bundle.Bundle
}

type stamp struct {
	modified time.Time
	size     int64
}

// Load reads the files; a missing, mismatched or foreign certificate is an error.
func Load(files Files, log *slog.Logger) (*Source, error) {
	return load(files, log, time.Now)
}

func load(files Files, log *slog.Logger, now func() time.Time) (*Source, error) {
	domain, err := spiffeid.TrustDomainFromString(files.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("trust domain %q: %w", files.TrustDomain, err)
	}
	if log == nil {
		log = slog.Default()
	}
	s := &Source{files: files, domain: domain, log: log, now: now}
	stamp, err := s.stamps()
	if err != nil {
		return nil, err
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	s.note(stamp, now())
	return s, nil
}

// ID is the SPIFFE id that this identity proves.
func (s *Source) ID() string {
	svid, _ := s.fresh()
	return svid.ID.String()
}

// Service is the service that this identity proves; false for other names
// under the trust domain, such as a migration's.
func (s *Source) Service() (accessv1.Service, bool) {
	svid, _ := s.fresh()
	return serviceOf(svid.ID)
}

// Expires is the end of the certificate in use, for a metric or a readiness check.
func (s *Source) Expires() time.Time {
	svid, _ := s.fresh()
	return svid.Certificates[0].NotAfter
}

// GetX509SVID implements x509svid.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	svid, _ := s.fresh()
	return svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (s *Source) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	_, bundle := s.fresh()
	return bundle.GetX509BundleForTrustDomain(domain)
}

func (s *Source) fresh() (*x509svid.SVID, *x509bundle.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.checked) < recheck {
		return s.svid, s.bundle
	}
	s.checked = now
	stamp, err := s.stamps()
	if err == nil && stamp == s.stamp && s.settled {
		return s.svid, s.bundle
	}
	if err == nil {
		err = s.read()
	}
	if err != nil {
		s.log.Error("certificate files changed and are unusable; the last good ones stay in use", "error", err)
		return s.svid, s.bundle
	}
	same := stamp == s.stamp
	s.note(stamp, now)
	if same {
		return s.svid, s.bundle
	}
	s.log.Info("certificate files read again", "id", s.svid.ID.String(), "expires", s.svid.Certificates[0].NotAfter)
	return s.svid, s.bundle
}

func (s *Source) read() error {
	svid, err := x509svid.Load(s.files.Certificate, s.files.Key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", s.files.Certificate, s.files.Key, err)
	}
	if !svid.ID.MemberOf(s.domain) {
		return fmt.Errorf("certificate %s is for %s, outside trust domain %s", s.files.Certificate, svid.ID, s.domain.Name())
	}
	bundle, err := x509bundle.Load(s.domain, s.files.Authorities)
	if err != nil {
		return fmt.Errorf("authorities %s: %w", s.files.Authorities, err)
	}
	if bundle.Empty() {
		return fmt.Errorf("authorities %s: the file holds no certificate", s.files.Authorities)
	}
	s.svid, s.bundle = svid, bundle
	return nil
}

// note remembers what was read and when. File systems tell times to some milliseconds.
func (s *Source) note(read [3]stamp, now time.Time) {
	s.stamp, s.checked, s.settled = read, now, true
	for _, f := range read {
		s.settled = s.settled && now.Sub(f.modified) > recheck
	}
}

func (s *Source) stamps() (found [3]stamp, err error) {
	for i, path := range []string{s.files.Certificate, s.files.Key, s.files.Authorities} {
		info, err := os.Stat(path)
		if err != nil {
			return found, fmt.Errorf("certificate file: %w", err)
		}
		found[i] = stamp{info.ModTime(), info.Size()}
	}
	return found, nil
}

func (s *Source) certificate() (*tls.Certificate, error) {
	svid, _ := s.fresh()
	cert := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// verifyName checks what crypto/tls checks by default, with today's authorities.
func (s *Source) verifyName(serverName string, state tls.ConnectionState) error {
	if serverName == "" {
		return errNoServerName
	}
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	_, bundle := s.fresh()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range bundle.X509Authorities() {
		roots.AddCert(c)
	}
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: serverName, Roots: roots, Intermediates: between, CurrentTime: s.now(),
	})
	if err != nil {
		return fmt.Errorf("server %s: %w", serverName, err)
	}
	return nil
}
