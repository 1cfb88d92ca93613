package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/api"
	"github.com/carekeep/carekeep/services/backup/internal/archive"
	"github.com/carekeep/carekeep/services/backup/internal/blob"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

// App is one replica with its connections.
type App struct {
	log     *slog.Logger
	pool    *pgxpool.Pool
	access  *pg.Access
	relay   *outbox.Relay
	server  *server.Server
	closers []func()
}

// Migrate brings the database's schema up to date; it runs as its owner. The
// service keeps nothing there but the outbox: backups are listed from their storage.
func Migrate(ctx context.Context, s Settings, log *slog.Logger) error {
	identity, err := mtls.Load(s.Server.Files(), log)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return pg.Migrate(ctx, s.Database, identity, outbox.Migrations())
}

// New connects and builds; nothing runs yet. Dependencies that are down do not
// stop it: readiness tells which they are.
func New(ctx context.Context, s Settings, log *slog.Logger) (_ *App, err error) {
	a := &App{log: log}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	identity, err := mtls.Load(s.Server.Files(), log)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	backups, err := a.archive(s)
	if err != nil {
		return nil, err
	}
	keys, err := a.client(s.Transit, identity)
	if err != nil {
		return nil, err
	}
	if a.pool, err = pg.Open(ctx, s.Database, identity); err != nil {
		return nil, err
	}
	a.closers = append(a.closers, a.pool.Close)
	counter := outbox.NewCounter()
	a.relay = outbox.NewRelay(a.pool, s.Broker, identity, "backup", counter)
	a.access = pg.NewAccess(a.pool, pg.Options{Append: counter.Append, Committed: a.relay.Poke})
	a.closers = append(a.closers, a.access.Close)
	sink := outbox.NewSink(a.access)
	service := &api.Service{
		Backups: backups, Keys: keys, Sink: sink,
		Primary: replication.Primary{Config: s.Replication, Source: identity},
	}
	if s.Restore != nil {
		service.RestoreRoot = string(s.Restore.Root)
		if service.RestoreKeys, err = a.restoreClient(s); err != nil {
			return nil, err
		}
	}
	a.server, err = server.New(ctx, s.Server, server.Options{
		Service: accessv1.Service_SERVICE_BACKUP, Sink: sink, Identity: identity, Log: log,
		Ready: map[string]func(context.Context) error{
			"database": a.pool.Ping, "transit": keys.Ready, "storage": backups.Store.Ready,
		},
	})
	if err != nil {
		return nil, err
	}
	a.relay.ReportCalls(a.server.Calls)
	backupv1.RegisterBackupServiceServer(a.server, service)
	return a, nil
}

// Run serves until ctx ends. The relay goes on until the last RPC is recorded.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	relaying, stop := context.WithCancel(context.WithoutCancel(ctx))
	relayed := make(chan error, 1)
	go func() { relayed <- a.relay.Run(relaying) }()
	err := a.server.Serve(ctx)
	stop()
	if failed := <-relayed; failed != nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return err
}

// Addr is where the server listens.
func (a *App) Addr() string { return a.server.Addr().String() }

func (a *App) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		a.closers[i]()
	}
}

func (a *App) archive(s Settings) (*archive.Archive, error) {
	store, err := blob.NewFolder(string(s.StorageDir))
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, func() { _ = store.Close() })
	return &archive.Archive{Store: store, Now: time.Now, Log: a.log}, nil
}

func (a *App) client(c transit.Config, source *mtls.Source) (*transit.Client, error) {
	client, err := transit.New(c, source)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, client.Close)
	return client, nil
}

// restoreClient logs in to transit with the restore identity's own certificate.
func (a *App) restoreClient(s Settings) (*transit.Client, error) {
	if s.Restore == nil {
		return nil, errs.New(errs.KindPrecondition, "RESTORE_DISABLED", api.RestoreDisabled)
	}
	files := s.Restore.TLS
	files.TrustDomain = s.Server.TrustDomain
	source, err := mtls.Load(files, a.log)
	if err != nil {
		return nil, fmt.Errorf("restore identity: %w", err)
	}
	return a.client(transit.Config{Address: s.Transit.Address, Role: s.Restore.Transit.Role}, source)
}
