package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
)

// TrustDomain is the SPIFFE trust domain of local stacks.
const TrustDomain = "carekeep.local"

// Place says where a stack is: its folder, its ports, its files. Whoever can
// read the folder holds every identity of it, and so can test from any side.
type Place struct {
	Dir      string    `json:"dir"`
	Ports    Ports     `json:"ports"`
	Started  time.Time `json:"started"`
	Binaries string    `json:"binaries"`
	// PostgresData is the data directory of the cluster; it may lie outside Dir,
	// because the server's user must be able to enter it.
	PostgresData string `json:"postgres_data"`

	authority *ca.CA
	mu        sync.Mutex
	sources   map[string]*mtls.Source
}

// Attach finds the stack that runs on a data folder.
func Attach(dir string) (*Place, error) {
	if !Running(dir) {
		return nil, fmt.Errorf("no stack runs on %s: start one with `make up`", dir)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "stack.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the stack on %s is still starting", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	var p Place
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("attach: %s: %w", dir, err)
	}
	if p.authority, err = ca.New(p.path("ca"), TrustDomain); err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return &p, nil
}

func (p *Place) save() error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("save place: %w", err)
	}
	part := p.path("stack.json.part")
	if err := os.WriteFile(part, raw, 0o600); err != nil {
		return fmt.Errorf("save place: %w", err)
	}
	if err := os.Rename(part, p.path("stack.json")); err != nil {
		return fmt.Errorf("save place: %w", err)
	}
	return nil
}

func (p *Place) path(parts ...string) string {
	return filepath.Join(append([]string{p.Dir}, parts...)...)
}

// Logs is the folder with one log file for each part.
func (p *Place) Logs() string { return p.path("logs") }

// ConfigFile is the configuration of a service, or of its migration as "{service}-migrate".
func (p *Place) ConfigFile(service string) string { return p.path("config", service+".yaml") }

// Credentials is the file with the users that the stack was seeded with.
func (p *Place) Credentials() string { return p.path("credentials.json") }

// BrokerData is the folder of NATS with its JetStream files.
func (p *Place) BrokerData() string { return p.path("broker") }

// TransitData is the folder of the transit engine's sealed storage.
func (p *Place) TransitData() string { return p.path("transit") }

// Checkpoints is the folder of the audit service's copies outside the database.
func (p *Place) Checkpoints() string { return p.path("audit", "checkpoints") }

// Backups and Restores are the backup service's storage and restore root.
func (p *Place) Backups() string { return p.path("backup", "storage") }

// Restores is the folder below which the backup service restores.
func (p *Place) Restores() string { return p.path("backup", "restores") }

// PostgresLog is the folder of the database server's own log.
func (p *Place) PostgresLog() string { return filepath.Join(filepath.Dir(p.PostgresData), "log") }

// Binary is the path of a program, such as carekeep.
func (p *Place) Binary(name string) string { return filepath.Join(p.Binaries, name) }

// CAFile is the authority's certificate, for clients of the gateway.
func (p *Place) CAFile() string { return p.authority.Authority() }

// CA is the authority, to issue identities for tests.
func (p *Place) CA() *ca.CA { return p.authority }

// Pool holds the authority's certificate.
func (p *Place) Pool() (*x509.CertPool, error) {
	raw, err := os.ReadFile(p.CAFile())
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("authority: %s holds no certificate", p.CAFile())
	}
	return pool, nil
}

// Client is an HTTP client that trusts the gateway. It follows no redirects and
// has no time limit of its own, since imports may be long.
func (p *Place) Client() (*http.Client, error) { return p.ClientFrom("") }

// ClientFrom is a Client that connects from a loopback address of its own, such
// as 127.0.1.3, as another device would. Where the system knows only 127.0.0.1
// (macOS), it connects from there.
func (p *Place) ClientFrom(address string) (*http.Client, error) {
	pool, err := p.Pool()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: probeTime}
	if ip := net.ParseIP(address); ip != nil {
		if probe, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip}); err == nil {
			dialer.LocalAddr = &net.TCPAddr{IP: ip}
			_ = probe.Close() // it only showed that the address is usable
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// URL is the address of the REST API.
func (p *Place) URL() string { return "https://" + p.Address("gateway") }

// PageURL is where people open the pages: by a name, because a passkey belongs to a
// domain, which an address is not.
func (p *Place) PageURL() string { return fmt.Sprintf("https://localhost:%d", p.Ports.Gateway) }

// InboxURL is the address of the inbox page.
func (p *Place) InboxURL() string { return "http://" + p.Address("inbox") }

// Address is host:port of a part, by its name.
func (p *Place) Address(name string) string {
	for _, part := range p.Ports.each() {
		if part.name == name {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(*part.port))
		}
	}
	panic("stack: no part is called " + name)
}

// Source is the identity of that name: a service, ctl, {service}-migrate,
// backup-restore or admin.
func (p *Place) Source(name string) (*mtls.Source, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.sources[name]; found != nil {
		return found, nil
	}
	files := p.files(name)
	if _, err := os.Stat(files.Certificate); err != nil {
		if files, err = p.authority.Issue(name); err != nil {
			return nil, fmt.Errorf("identity %s: %w", name, err)
		}
	}
	source, err := mtls.Load(files, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", name, err)
	}
	if p.sources == nil {
		p.sources = map[string]*mtls.Source{}
	}
	p.sources[name] = source
	return source, nil
}

func (p *Place) files(name string) mtls.Files {
	return mtls.Files{
		Certificate: p.path("ca", name+".crt"), Key: p.path("ca", name+".key"),
		Authorities: p.CAFile(), TrustDomain: TrustDomain,
	}
}

// AdminDB connects to a database as the superuser, which only local stacks have.
func (p *Place) AdminDB(ctx context.Context, database string) (*pgx.Conn, error) {
	source, err := p.Source("admin")
	if err != nil {
		return nil, err
	}
	return pg.Connect(ctx, pg.Config{Host: "127.0.0.1", Port: uint16(p.Ports.Postgres), Database: database, User: postgres.Admin}, source)
}
