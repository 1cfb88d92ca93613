package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/audit/internal/api"
	"github.com/carekeep/carekeep/services/audit/internal/appender"
	"github.com/carekeep/carekeep/services/audit/internal/breach"
	"github.com/carekeep/carekeep/services/audit/internal/completeness"
	"github.com/carekeep/carekeep/services/audit/internal/copies"
	"github.com/carekeep/carekeep/services/audit/internal/incident"
	"github.com/carekeep/carekeep/services/audit/internal/intake"
	"github.com/carekeep/carekeep/services/audit/internal/keys"
	"github.com/carekeep/carekeep/services/audit/internal/reports"
	"github.com/carekeep/carekeep/services/audit/internal/retention"
	"github.com/carekeep/carekeep/services/audit/internal/review"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/sink"
	"github.com/carekeep/carekeep/services/audit/internal/store"
	"github.com/carekeep/carekeep/services/audit/internal/tiles"
	"github.com/carekeep/carekeep/services/audit/internal/witnesses"
)

// service is one replica with its connections.
type service struct {
	log       *slog.Logger
	pool      *pgxpool.Pool
	conn      *nats.Conn
	transit   *transit.Client
	copies    *copies.Folder
	places    copies.Places // the folder and, where there is one, the bucket
	keys      *keys.Transit
	intake    *intake.Intake
	appender  *appender.Appender
	own       *sink.Sink
	reports   *reports.Reports
	detection *detection
	response  *response
	incidents *incident.Incidents
	breaches  *breach.Breaches
	witnesses *witnesses.Circle
	retain    *retention.Retention
	reviews   *review.Reviews
	complete  *completeness.Watch
	server    *server.Server
}

// newService connects and builds; nothing runs yet. Dependencies that are down do not
// stop it: readiness tells which they are.
func newService(ctx context.Context, s Settings, identity *mtls.Source, log *slog.Logger, now func() time.Time) (_ *service, err error) {
	v := &service{log: log}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if v.copies, err = copies.Open(string(s.CheckpointDir), log); err != nil {
		return nil, err
	}
	if v.places, err = s.CheckpointBucket.open(v.copies, log); err != nil {
		return nil, err
	}
	if v.pool, err = pg.Open(ctx, s.Database, identity); err != nil {
		return nil, err
	}
	if v.transit, err = transit.New(s.Transit, identity); err != nil {
		return nil, err
	}
	if v.conn, err = outbox.Connect(s.Broker.Broker, identity, "audit", log); err != nil {
		return nil, err
	}
	if v.intake, err = intake.New(v.conn, s.Broker.Broker, s.Broker.Replicas, log, now); err != nil {
		return nil, err
	}
	v.keys = keys.New(v.transit, s.LogName)
	v.appender = appender.New(appender.Options{
		Pool: v.pool, Log: log, Now: now, Name: s.LogName, Keys: v.keys, Copies: v.places, Lead: v.lead,
	})
	if v.own, err = sink.New(v.appender, v.conn, log, now); err != nil {
		return nil, err
	}
	clock, err := s.Reports.clock()
	if err != nil {
		return nil, err
	}
	path, err := s.Incidents.path()
	if err != nil {
		return nil, err
	}
	entries := store.New(v.pool)
	v.reports = reports.New(reports.Options{Store: entries, Seal: seal.New(v.transit, transit.AuditReports), Sink: v.own, Clock: clock, Log: log, Now: now})
	sealer := seal.New(v.transit, transit.AuditIncidents)
	v.breaches = breach.New(breach.Options{Store: entries, Seal: sealer, Sink: v.own, Leading: v.appender.Writing, Log: log, Now: now})
	v.incidents = incident.New(incident.Options{
		Store: entries, Seal: sealer, Sink: v.own, Path: path,
		Leading: v.appender.Writing, Log: log, Now: now,
	})
	v.retain = retention.New(retention.Options{
		Store: entries, Keys: v.keys, Sink: v.own, Keep: s.Retention.keep(), Purge: s.Retention.Mode == "purge", Writing: v.appender.Writing, Log: log, Now: now,
	})
	v.reviews = review.New(review.Options{
		Store: entries, Seal: seal.New(v.transit, transit.AuditIncidents), Keys: v.keys, Sink: v.own, Name: s.LogName,
		Leading: v.appender.Writing, Log: log, Now: now,
	})
	if v.detection, err = v.newDetection(s.Detection, entries, now); err != nil {
		return nil, err
	}
	if v.response, err = v.newResponse(s.Response, identity, now); err != nil {
		return nil, err
	}
	if v.witnesses, err = s.circle(entries, log, now); err != nil {
		return nil, err
	}
	v.complete, err = completeness.New(completeness.Options{
		Store: entries, Sink: v.own, Conn: v.conn, Leading: v.appender.Writing, Log: log, Now: now,
		Calls: func(whole bool) []*auditv1.MinuteCalls { return v.server.Calls(whole) },
	})
	if err != nil {
		return nil, err
	}
	v.server, err = server.New(ctx, s.Server, server.Options{
		Service: accessv1.Service_SERVICE_AUDIT, Sink: v.own, Identity: identity, Log: log, Now: now,
		Ready: map[string]func(context.Context) error{
			"database": entries.Ready, "broker": v.intake.Ready, "transit": v.transit.Ready,
			"log": v.appender.Ready, "checkpoint_copies": v.places.Ready, "witnesses": v.witnesses.Ready,
		},
	})
	if err != nil {
		return nil, err
	}
	auditv1.RegisterAuditServiceServer(v.server, api.New(entries, v.keys, v.own, v.complete, now))
	auditv1.RegisterVulnerabilityServiceServer(v.server, api.NewVulnerability(v.reports))
	auditv1.RegisterBreachServiceServer(v.server, api.NewBreaches(v.breaches))
	auditv1.RegisterIncidentServiceServer(v.server, api.NewIncidents(v.incidents))
	auditv1.RegisterDetectionServiceServer(v.server, v.detection.api)
	auditv1.RegisterReadingServiceServer(v.server, api.NewReading(api.ReadingOptions{
		Log: entries, Keys: v.keys, Sink: v.own, Stall: time.Duration(s.Reading.StallSeconds) * time.Second, Tails: s.Reading.Tails,
		Stopping: ctx.Done(),
	}))
	auditv1.RegisterRetentionServiceServer(v.server, api.NewRetention(v.retain))
	auditv1.RegisterLogReviewServiceServer(v.server, api.NewLogReviews(v.reviews))
	if s.Tiles.Listen != "" {
		err = v.server.ServeHTTP(ctx, s.Tiles.Listen, tiles.New(entries, len(s.Witnesses) > 0, log))
	}
	return v, err
}

// lead is what this replica does while it is the writer.
func (v *service) lead(ctx context.Context, submit func(context.Context, appender.Submission) error) {
	var leading sync.WaitGroup
	defer leading.Wait()
	leading.Go(func() { v.detection.detector.Run(ctx) })
	leading.Go(func() { v.response.Run(ctx) })
	leading.Go(func() { v.witnesses.Run(ctx) })
	v.intake.Run(ctx, submit)
}

// run serves until ctx ends. The appender goes on until the last RPC is recorded, and
// what it leaves is receipted and copied after that.
func (v *service) run(ctx context.Context) error {
	defer v.close()
	stopAppending := start(ctx, v.appender.Run)
	stopRest := start(ctx, v.intake.RunReceipts, v.places.Run, v.writeKeys, v.reports.Run, v.incidents.Run, v.breaches.Run, v.reviews.Run, v.retain.Daily, v.detection.source.Run, v.complete.Run)
	err := v.server.Serve(ctx)
	stopAppending()
	stopRest()
	if v.conn.IsConnected() {
		err = errors.Join(err, v.conn.FlushTimeout(time.Second))
	}
	return err
}

// start runs jobs that outlive ctx, and returns what stops them and waits.
func start(ctx context.Context, jobs ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, job := range jobs {
		running.Go(func() { job(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// writeKeys stores the verifier keys beside the checkpoint copies, as soon as transit tells them.
func (v *service) writeKeys(ctx context.Context) {
	for {
		text, err := v.keys.File(ctx)
		if err == nil {
			err = v.copies.WriteKeys(text)
		}
		if err == nil {
			return
		}
		v.log.WarnContext(ctx, "the verifier keys are not beside the checkpoint copies yet", telemetry.KeyError, err.Error())
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Second):
		}
	}
}

func (v *service) close() {
	v.response.close()
	if v.conn != nil {
		v.conn.Close()
	}
	if v.pool != nil {
		v.pool.Close()
	}
	if v.transit != nil {
		v.transit.Close()
	}
}
