package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/notary"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/api"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/bulk"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhirapi"
	"github.com/carekeep/carekeep/services/records/internal/glass"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/intake"
	"github.com/carekeep/carekeep/services/records/internal/interact"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/life"
	"github.com/carekeep/carekeep/services/records/internal/referral"
	"github.com/carekeep/carekeep/services/records/internal/rights"
	"github.com/carekeep/carekeep/services/records/internal/schedule"
	"github.com/carekeep/carekeep/services/records/internal/search"
	"github.com/carekeep/carekeep/services/records/internal/upkeep"
	"github.com/carekeep/carekeep/services/records/internal/watch"
	"github.com/carekeep/carekeep/services/records/migrations"
)

// name is the service's name in the mesh, the broker and the database's roles.
const name = "records"

// watchEvery is how often openings are looked for that nobody reviewed in time.
const watchEvery = time.Minute

// Options are what a test replaces.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
}

// App is the records service, connected and ready to serve.
type App struct {
	Server *server.Server

	pool   *pgxpool.Pool
	access *pg.Access
	vault  *transit.Client
	keys   *keys.Keys
	rights *rights.Rights
	log    *slog.Logger
	relay  *outbox.Relay
	upkeep *upkeep.Upkeep
	life   *life.Life
	search *search.Engine
	glass  *glass.Glass
	watch  *watch.Watch
	auth   *grpc.ClientConn
}

// New connects and builds everything. It does not wait for database, transit or
// broker: readiness tells which one is missing.
func New(ctx context.Context, s Settings, o Options) (*App, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	identity, err := mtls.Load(s.Files(), o.Log)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	a := &App{log: o.Log}
	if a.vault, err = transit.New(s.Transit, identity); err != nil {
		return nil, err
	}
	if a.pool, err = pg.Open(ctx, s.Database, identity); err != nil {
		a.vault.Close()
		return nil, err
	}
	counter := outbox.NewCounter()
	a.relay = outbox.NewRelay(a.pool, s.Broker, identity, name, counter)
	if a.auth, err = identity.Dial(s.Auth, accessv1.Service_SERVICE_AUTH); err != nil {
		a.pool.Close()
		a.vault.Close()
		return nil, fmt.Errorf("auth: %w", err)
	}
	a.watch = watch.New(watch.Auth{Conn: a.auth}, o.Now, o.Log)
	closed := life.NewClosed()
	a.access = pg.NewAccess(a.pool, pg.Options{
		Append: counter.Append, Committed: a.relay.Poke, Guard: closed.Guard, Explain: life.Explain, Inspect: a.watch.Inspect,
	})
	a.keys = keys.New(a.vault, a.access, keys.Options{
		TTL: time.Duration(s.Keys.CacheSeconds) * time.Second, Max: s.Keys.CacheMax, Now: o.Now,
	})
	a.watch.Connect(a.access, a.keys)
	a.Server, err = server.New(ctx, s.Config, server.Options{
		Service: accessv1.Service_SERVICE_RECORDS, Sink: outbox.NewSink(a.access), Identity: identity, Now: o.Now, Log: o.Log,
		Enter: a.watch.Enter, Leave: a.watch.Leave,
		// The broker is missing on purpose: while it is away care goes on.
		Ready: map[string]func(context.Context) error{"database": a.pool.Ping, "transit": a.vault.Ready},
	})
	if err != nil {
		a.close()
		return nil, err
	}
	a.relay.ReportCalls(a.Server.Calls)
	generations := index.NewGenerations(a.access, a.keys, s.Search.Region, o.Now)
	charts := chart.New(a.access, a.keys, generations, o.Now)
	files := attach.New(charts)
	a.search = search.New(charts, a.keys)
	a.life = life.New(a.access, a.keys, a.vault, notary.New(a.vault, transit.RecordsCertificates, certificate.Signer), closed, o.Now)
	a.upkeep = upkeep.New(a.pool, a.access, a.keys, a.vault, generations, upkeep.Options{
		Limits: s.Upkeep, PurgeDue: a.life.PurgeDue, Now: o.Now, Log: o.Log,
	})
	recordsv1.RegisterKeysServiceServer(a.Server, api.NewKeys(a.upkeep))
	recordsv1.RegisterIndexServiceServer(a.Server, api.NewIndex(a.upkeep))
	recordsv1.RegisterRecordsServiceServer(a.Server, api.New(charts, intake.New(a.access, a.keys, generations, s.Imports, o.Now), a.search))
	recordsv1.RegisterDocumentServiceServer(a.Server, api.NewDocuments(charts, files))
	recordsv1.RegisterSchedulingServiceServer(a.Server, api.NewScheduling(schedule.New(charts, o.Now)))
	recordsv1.RegisterLifecycleServiceServer(a.Server, api.NewLifecycle(a.life))
	a.glass = glass.New(a.access, a.keys, o.Now, o.Log)
	recordsv1.RegisterAccessServiceServer(a.Server, api.NewAccess(a.glass))
	recordsv1.RegisterWatchServiceServer(a.Server, api.NewWatch(a.watch))
	recordsv1.RegisterReferralServiceServer(a.Server, api.NewReferrals(referral.New(a.access, a.keys, o.Now)))
	a.rights = rights.New(a.access, a.keys, charts, files, a.watch, o.Now)
	recordsv1.RegisterRightsServiceServer(a.Server, api.NewRights(a.rights))
	if err := a.serveFHIR(ctx, s.FHIR, charts, generations, o.Now); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// serveFHIR opens the FHIR API, which gRPC serves as well.
func (a *App) serveFHIR(ctx context.Context, s FHIR, charts *chart.Chart, generations *index.Generations, now func() time.Time) error {
	service := fhirapi.New(fhirapi.Options{
		Store: interact.New(a.access, a.keys, charts, generations, now), Chart: charts, Engine: a.search,
		Exports: bulk.New(a.access, charts, s.Export, now), Base: s.Base, Now: now, Over: a.watch.Over,
	})
	recordsv1.RegisterFhirServiceServer(a.Server, service)
	return a.Server.ServeHTTP(ctx, s.Listen, fhirapi.Handler(service, a.Server, s.Limits))
}

// CheckDueRequests announces the requests of a practice's patients that are nearly due or overdue.
func (a *App) CheckDueRequests(ctx context.Context, practice uuid.UUID) (int, error) {
	return a.rights.CheckDue(ctx, practice)
}

// Run serves until ctx ends, then drains. The relay stops after the last RPC, so
// that its events still leave.
func (a *App) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	working, rest := context.WithCancel(ctx)
	var relay, work sync.WaitGroup
	var relayed error
	relay.Go(func() { relayed = a.relay.Run(background) })
	work.Go(func() { a.upkeep.Run(working) })
	work.Go(func() { a.life.WatchClosed(working) })
	work.Go(func() { a.rights.Run(working, a.log) })
	work.Go(func() { a.glass.Watch(working, watchEvery) })
	work.Go(func() { a.watch.Run(working) })
	served := a.Server.Serve(ctx)
	rest()
	work.Wait()
	stop()
	relay.Wait()
	a.close()
	return errors.Join(served, relayed)
}

func (a *App) close() {
	a.access.Close()
	a.watch.Close()
	_ = a.auth.Close()
	a.keys.Close()
	a.pool.Close()
	a.vault.Close()
}

// Migrate brings the database's schema up to date, as the role that owns it.
func Migrate(ctx context.Context, s Settings, o Options) error {
	identity, err := mtls.Load(s.Files(), o.Log)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return pg.Migrate(ctx, s.Database, identity, migrations.Set, outbox.Migrations())
}
