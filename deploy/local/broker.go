package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/carekeep/carekeep/deploy/local/stack"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/ca"
)

// brokerCommand runs NATS in a process of its own, so that a test can kill it.
type brokerCommand struct {
	Dir       string `required:"" type:"path" help:"Folder of the streams."`
	Port      int    `required:"" help:"Port on 127.0.0.1."`
	Authority string `required:"" type:"existingdir" help:"Folder of the certificate authority."`
}

// Run serves until the process is told to stop.
func (c *brokerCommand) Run(ctx context.Context) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	authority, err := ca.New(c.Authority, stack.TrustDomain)
	if err != nil {
		return err
	}
	server, err := broker.Start(ctx, broker.Options{Dir: c.Dir, Port: c.Port, CA: authority, Log: log})
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	log.Info("broker listens", "url", server.URL())
	<-ctx.Done()
	server.Shutdown()
	return nil
}
