package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Ports are where the parts listen on 127.0.0.1; 0 takes a free one.
type Ports struct {
	Gateway  int `json:"gateway" name:"gateway-port" default:"8443" env:"CAREKEEP_GATEWAY_PORT" help:"Port of the REST API."`
	Inbox    int `json:"inbox" name:"inbox-port" default:"8025" env:"CAREKEEP_INBOX_PORT" help:"Port of the inbox page."`
	Mail     int `json:"mail" name:"mail-port" default:"8026" env:"CAREKEEP_MAIL_PORT" help:"Port of the inbox's SMTP server."`
	Auth     int `json:"auth" name:"auth-port" default:"8101" env:"CAREKEEP_AUTH_PORT" help:"Port of the auth service."`
	Records  int `json:"records" name:"records-port" default:"8102" env:"CAREKEEP_RECORDS_PORT" help:"Port of the records service."`
	FHIR     int `json:"fhir" name:"fhir-port" default:"8112" env:"CAREKEEP_FHIR_PORT" help:"Port of the FHIR API of the records service, behind the gateway."`
	Audit    int `json:"audit" name:"audit-port" default:"8103" env:"CAREKEEP_AUDIT_PORT" help:"Port of the audit service."`
	Log      int `json:"log" name:"log-port" default:"8113" env:"CAREKEEP_LOG_PORT" help:"Port of the audit service's public log, behind the gateway."`
	Backup   int `json:"backup" name:"backup-port" default:"8104" env:"CAREKEEP_BACKUP_PORT" help:"Port of the backup service."`
	Postgres int `json:"postgres" name:"postgres-port" default:"8132" env:"CAREKEEP_POSTGRES_PORT" help:"Port of PostgreSQL."`
	Broker   int `json:"broker" name:"broker-port" default:"8122" env:"CAREKEEP_BROKER_PORT" help:"Port of NATS."`
	Transit  int `json:"transit" name:"transit-port" default:"8120" env:"CAREKEEP_TRANSIT_PORT" help:"Port of the transit engine."`
}

// each names every port, by the names that parts, flags and messages use.
func (p *Ports) each() []struct {
	name string
	port *int
} {
	return []struct {
		name string
		port *int
	}{
		{"gateway", &p.Gateway}, {"inbox", &p.Inbox}, {"mail", &p.Mail},
		{"auth", &p.Auth}, {"records", &p.Records}, {"fhir", &p.FHIR}, {"audit", &p.Audit}, {"log", &p.Log}, {"backup", &p.Backup},
		{"postgres", &p.Postgres}, {"broker", &p.Broker}, {"transit", &p.Transit},
	}
}

// claim checks that fixed ports are free, and finds one for each that is 0. The
// returned function gives the found ones back.
func (p *Ports) claim() (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, f := range held {
			_ = f.Close() // closing unlocks
		}
	}
	var taken []error
	for _, part := range p.each() {
		if *part.port != 0 {
			if err := free(*part.port); err != nil {
				taken = append(taken, fmt.Errorf("port %d, meant for %s, is taken: end what listens there, or choose another with --%s-port or CAREKEEP_%s_PORT (%w)",
					*part.port, part.name, part.name, strings.ToUpper(part.name), err))
			}
			continue
		}
		port, lock, err := reserve()
		if err != nil {
			release()
			return nil, err
		}
		*part.port, held = port, append(held, lock)
	}
	if len(taken) > 0 {
		release()
		return nil, errors.Join(taken...)
	}
	return release, nil
}

// reserve takes a port below the range from which the kernel gives out ports of
// its own. A lock on a file of that number keeps other stacks off it, also
// while nothing listens because a part was just killed.
func reserve() (int, *os.File, error) {
	folder := filepath.Join(os.TempDir(), "carekeep-ports")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return 0, nil, fmt.Errorf("reserve a port: %w", err)
	}
	const first, last = 20_000, 32_000
	for range 1000 {
		port := first + rand.IntN(last-first)
		lock, err := os.OpenFile(filepath.Join(folder, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			continue // another user's
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && free(port) == nil {
			return port, lock, nil
		}
		_ = lock.Close()
	}
	return 0, nil, fmt.Errorf("no free port between %d and %d", first, last)
}

func free(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}
