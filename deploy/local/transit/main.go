// Command transit serves HashiCorp Vault's transit engine behind Vault's own
// HTTP paths, for local stacks and tests on a machine without Vault. It is not
// for production and nothing that ships links it; see README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// options are the command line. The certificate proves this server to clients,
// and clients prove themselves with certificates under the same authorities.
type options struct {
	Listen        string `default:"127.0.0.1:8200" help:"Address to listen on."`
	Data          string `required:"" help:"Folder of the sealed storage."`
	UnsealKeyFile string `required:"" help:"File of the root key (hex); made with mode 0600 on the first start."`
	Policies      string `required:"" type:"existingdir" help:"Folder of Vault policies, one {identity}.hcl each."`
	Certificate   string `required:"" type:"existingfile" help:"Certificate (PEM)."`
	Key           string `required:"" type:"existingfile" help:"Private key (PEM)."`
	Authorities   string `required:"" type:"existingfile" help:"Authorities of client certificates (PEM)."`
	TrustDomain   string `required:"" help:"SPIFFE trust domain of the clients."`
	AuditLog      string `required:"" help:"JSON lines file with every request."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("carekeep-transit"), kong.Description("Vault's transit engine for local stacks and tests."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		slog.Error("transit", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	store, err := openStore(o.Data, o.UnsealKeyFile)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	policies, err := loadPolicies(o.Policies)
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	audit, err := openAudit(o.AuditLog)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer func() { err = errors.Join(err, audit.Close()) }()
	engine, err := newEngine(ctx, store)
	if err != nil {
		return fmt.Errorf("transit engine: %w", err)
	}
	s := &server{engine: engine, policies: policies, tokens: newTokens(time.Now), audit: audit, domain: o.TrustDomain, now: time.Now}
	return s.serve(ctx, o)
}
