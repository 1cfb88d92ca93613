package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/carekeep/carekeep/libs/devkit"
)

// initialise runs initdb where there is no cluster yet.
func (s *Server) initialise(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.paths.data, "PG_VERSION")); err == nil {
		return nil
	}
	args := []string{"-D", s.paths.data, "-U", Admin, "-A", "reject", "-E", "UTF8", "--locale=C", "--data-checksums"}
	if s.opts.NoSync {
		args = append(args, "--no-sync")
	}
	cmd := s.command(filepath.Join(s.bin, "initdb"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out.String())
	}
	return nil
}

// configure writes all settings anew, so that a cluster made by an older
// source tree gets today's: the ones we ship, then those of this machine.
func (s *Server) configure() error {
	shipped := filepath.Join(devkit.Root(), "deploy", "postgres")
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(shipped, name))
		if err != nil {
			panic("devkit/postgres: " + err.Error()) // the source tree is incomplete
		}
		return raw
	}
	cert, err := s.opts.CA.Issue("postgres")
	if err != nil {
		return err
	}
	local := fmt.Sprintf("\n# This machine.\nlisten_addresses = '%s'\nport = %d\nssl_cert_file = '%s'\nssl_key_file = '%s'\nssl_ca_file = '%s'\n",
		s.Host(), s.port, filepath.Join(s.paths.tls, "server.crt"), filepath.Join(s.paths.tls, "server.key"), filepath.Join(s.paths.tls, "ca.crt"))
	if s.opts.NoSync {
		local += "fsync = off\nfull_page_writes = off\n"
	}
	admin := "carekeep  admin            " + Admin + "\n"
	for path, content := range map[string][]byte{
		filepath.Join(s.paths.data, "postgresql.conf"): append(read("carekeep.conf"), local...),
		filepath.Join(s.paths.data, "pg_hba.conf"):     read("pg_hba.conf"),
		filepath.Join(s.paths.data, "pg_ident.conf"):   append(read("pg_ident.conf"), admin...),
	} {
		if err := s.install(path, content); err != nil {
			return err
		}
	}
	for to, from := range map[string]string{"server.crt": cert.Certificate, "server.key": cert.Key, "ca.crt": cert.Authorities} {
		raw, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := s.install(filepath.Join(s.paths.tls, to), raw); err != nil {
			return err
		}
	}
	return nil
}

// applyRoles runs the file that a platform team runs, with the tool that they use.
func (s *Server) applyRoles(ctx context.Context) error {
	cert, err := s.opts.CA.Issue("admin")
	if err != nil {
		return err
	}
	file, err := os.Open(filepath.Join(devkit.Root(), "deploy", "postgres", "roles.sql"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	conninfo := "host=" + s.Host() + " port=" + strconv.Itoa(s.port) + " dbname=postgres user=" + Admin + " sslmode=verify-full" +
		" sslcert='" + cert.Certificate + "' sslkey='" + cert.Key + "' sslrootcert='" + cert.Authorities + "'"
	cmd := s.command(filepath.Join(s.bin, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", conninfo)
	// psql reads the keys of the caller, so it runs as the caller.
	cmd.SysProcAttr.Credential, cmd.Dir = nil, s.paths.dir
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("psql: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("roles.sql: %w: %s", err, out.String())
	}
	return nil
}
