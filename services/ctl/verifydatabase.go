package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/ledger/rawlog"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/pg"
)

type verifyDatabase struct {
	Database string `type:"existingfile" placeholder:"FILE" help:"Verify the rows in the audit database itself. The file says how to reach it, like services/ctl/config/verify.example.yaml."`
}

// databaseSettings is the file; config/verify.example.yaml explains it.
type databaseSettings struct {
	TrustDomain string     `yaml:"trust_domain" config:"required"`
	TLS         mtls.Files `yaml:"tls" config:"required"`
	Database    pg.Config  `yaml:"database" config:"required"`
}

func (v *verifyDatabase) database(ctx context.Context, t *terminal, trust ledger.Trust) error {
	var s databaseSettings
	if err := config.Load(v.Database, &s); err != nil {
		return fmt.Errorf("--database: %w", err)
	}
	s.TLS.TrustDomain = s.TrustDomain
	identity, err := mtls.Load(s.TLS, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("--database: %w", err)
	}
	conn, err := pg.Connect(ctx, s.Database, identity)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	begin := t.now()
	select { // an append that had begun by then is committed after this
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ledger.Settle):
	}
	log, err := rawlog.Open(ctx, conn)
	if err != nil {
		return err
	}
	defer log.Close(context.WithoutCancel(ctx))
	report, err := ledger.VerifyItems(begin, log.Items(ctx), trust)
	if err != nil {
		return err
	}
	show(t.out, report)
	return verdict(report.Problems, report.Omitted)
}
