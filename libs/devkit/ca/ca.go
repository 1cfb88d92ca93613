// Package ca is the certificate authority of local stacks and tests: it issues
// the SPIFFE identities that a platform's own authority issues in production.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/carekeep/carekeep/libs/mtls"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	// early lets a clock that is a little behind accept a new certificate.
	early = 5 * time.Minute
)

// CA is an authority whose key and certificate live in one folder.
type CA struct {
	dir, domain string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	keys        sync.Mutex
}

// New makes an authority for the trust domain in dir, or takes up the one there.
func New(dir, trustDomain string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // certificates are public; keys have a mode of their own
		return nil, fmt.Errorf("authority folder: %w", err)
	}
	c := &CA{dir: dir, domain: trustDomain}
	err := c.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = c.create()
	}
	if err != nil {
		return nil, fmt.Errorf("authority in %s: %w", dir, err)
	}
	return c, nil
}

// ForTest makes a throwaway authority for the trust domain carekeep.test.
func ForTest(tb testing.TB) *CA {
	tb.Helper()
	c, err := New(tb.TempDir(), "carekeep.test")
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TrustDomain is the trust domain that the authority issues for.
func (c *CA) TrustDomain() string { return c.domain }

// Authority is the file with the authority's certificate.
func (c *CA) Authority() string { return filepath.Join(c.dir, "ca.crt") }

// Issue writes a new certificate and key for name over any it issued before:
// common name, SPIFFE id …/service/{name}, localhost and the loopback addresses.
func (c *CA) Issue(name string) (mtls.Files, error) { return c.IssueFor(name, leafLife) }

// IssueFor is Issue with a lifetime; a negative one makes an expired certificate.
func (c *CA) IssueFor(name string, life time.Duration) (mtls.Files, error) {
	files := mtls.Files{
		Certificate: filepath.Join(c.dir, name+".crt"),
		Key:         filepath.Join(c.dir, name+".key"),
		Authorities: c.Authority(),
		TrustDomain: c.domain,
	}
	key, err := c.keyOf(files.Key)
	if err != nil {
		return mtls.Files{}, fmt.Errorf("key for %s: %w", name, err)
	}
	leaf := template(name, time.Now().Add(life))
	leaf.NotBefore = earlier(leaf.NotBefore, leaf.NotAfter.Add(-time.Hour))
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	leaf.URIs = []*url.URL{{Scheme: "spiffe", Host: c.domain, Path: "/service/" + name}}
	leaf.DNSNames = []string{"localhost"}
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.cert, &key.PublicKey, c.key)
	if err != nil {
		return mtls.Files{}, fmt.Errorf("certificate for %s: %w", name, err)
	}
	return files, replace(files.Certificate, "CERTIFICATE", der, 0o644)
}

// keyOf is the key of a name, made once: while a certificate is renewed, whoever
// starts at that moment finds a pair that fits, the old one or the new.
func (c *CA) keyOf(file string) (*ecdsa.PrivateKey, error) {
	c.keys.Lock()
	defer c.keys.Unlock()
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return key, write(file, key)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", file)
	}
	return parseKey(block.Bytes)
}

// Source issues for name and loads the result.
func (c *CA) Source(name string) (*mtls.Source, error) {
	files, err := c.Issue(name)
	if err != nil {
		return nil, err
	}
	return mtls.Load(files, nil)
}

func (c *CA) load() error {
	pair := [2][]byte{}
	for i, name := range []string{"ca.crt", "ca.key"} {
		raw, err := os.ReadFile(filepath.Join(c.dir, name))
		if err != nil {
			return err
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return fmt.Errorf("%s holds no PEM block; remove the folder to start anew", name)
		}
		pair[i] = block.Bytes
	}
	cert, err := x509.ParseCertificate(pair[0])
	if err != nil {
		return err
	}
	if len(cert.URIs) != 1 || cert.URIs[0].Host != c.domain {
		return fmt.Errorf("the authority there is not for trust domain %s; remove the folder to start anew", c.domain)
	}
	key, err := parseKey(pair[1])
	if err != nil {
		return err
	}
	c.cert, c.key = cert, key
	return nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key there is not an ECDSA key; remove the folder to start anew")
	}
	return private, nil
}

func (c *CA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	root := template("carekeep local authority", time.Now().Add(authorityLife))
	root.IsCA, root.BasicConstraintsValid = true, true
	root.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	root.URIs = []*url.URL{{Scheme: "spiffe", Host: c.domain}}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	c.key = key
	if err := write(filepath.Join(c.dir, "ca.key"), key); err != nil {
		return err
	}
	return replace(c.Authority(), "CERTIFICATE", der, 0o644)
}

func template(name string, end time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic("ca: no randomness: " + err.Error()) // crypto/rand never fails on the systems we support
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-early),
		NotAfter:     end,
	}
}

func write(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return replace(path, "PRIVATE KEY", der, 0o600)
}

// replace puts the file in place in one step, so that a reader never sees half of it.
func replace(path, kind string, der []byte, mode fs.FileMode) error {
	part := path + "." + rand.Text()
	if err := os.WriteFile(part, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
