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
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/auth/internal/account"
	"github.com/carekeep/carekeep/services/auth/internal/admit"
	"github.com/carekeep/carekeep/services/auth/internal/api"
	"github.com/carekeep/carekeep/services/auth/internal/certification"
	"github.com/carekeep/carekeep/services/auth/internal/containment"
	"github.com/carekeep/carekeep/services/auth/internal/custom"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/factor"
	"github.com/carekeep/carekeep/services/auth/internal/grant"
	"github.com/carekeep/carekeep/services/auth/internal/guard"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
	"github.com/carekeep/carekeep/services/auth/internal/notice"
	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/passkey"
	"github.com/carekeep/carekeep/services/auth/internal/password"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/purge"
	"github.com/carekeep/carekeep/services/auth/internal/reset"
	"github.com/carekeep/carekeep/services/auth/internal/response"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/signin"
	"github.com/carekeep/carekeep/services/auth/internal/staff"
	"github.com/carekeep/carekeep/services/auth/internal/standing"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/usage"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Options are what a test replaces.
type Options struct {
	Log *slog.Logger
	// Now replaces the clocks of service and database.
	Now func() time.Time
}

func (o Options) clock() func() time.Time {
	if o.Now == nil {
		return time.Now
	}
	return o.Now
}

// App is auth, connected and ready to serve.
type App struct {
	Server *server.Server

	link     *link
	admitter *admit.Admitter
	relay    *outbox.Relay
	mailer   *mail.Worker
	sms      *outbound.SMS
	notices  *notice.Worker
	purger   *purge.Purger
	records  *grpc.ClientConn
	uses     *usage.Uses
	reviews  *certification.Certifications
	log      *slog.Logger
}

// link is what both serving and the bootstrap command need.
type link struct {
	identity *mtls.Source
	pool     *pgxpool.Pool
	counter  *outbox.Counter
	access   *pg.Access
	transit  *transit.Client
	store    *store.Store
	sealer   *seal.Sealer
}

// connect opens database and transit. Poked is told of every commit with events.
func connect(ctx context.Context, s Settings, o Options, poked func()) (*link, error) {
	files := s.TLS
	files.TrustDomain = s.TrustDomain
	identity, err := mtls.Load(files, o.Log)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	vault, err := transit.New(s.Transit, identity)
	if err != nil {
		return nil, err
	}
	pool, err := pg.Open(ctx, s.Database, identity)
	if err != nil {
		vault.Close()
		return nil, err
	}
	counter := outbox.NewCounter()
	access := pg.NewAccess(pool, pg.Options{Append: counter.Append, Committed: poked})
	l := &link{identity: identity, pool: pool, counter: counter, access: access, transit: vault, store: store.New(access, o.Now), sealer: seal.New(vault)}
	if err := vault.CreateKey(ctx, transit.AuthSecrets, transit.AES256); err != nil {
		l.close()
		return nil, fmt.Errorf("key %s: %w", transit.AuthSecrets, err)
	}
	return l, nil
}

func (l *link) close() {
	l.access.Close()
	l.pool.Close()
	l.transit.Close()
}

// New connects and builds everything. Database and transit must answer.
func New(ctx context.Context, s Settings, o Options) (*App, error) {
	a := &App{log: o.Log}
	var err error
	if a.link, err = connect(ctx, s, o, func() { a.relay.Poke() }); err != nil {
		return nil, err
	}
	a.relay = outbox.NewRelay(a.link.pool, s.Broker, a.link.identity, "auth", a.link.counter)
	if err := a.build(ctx, s, o); err != nil {
		a.link.close()
		return nil, err
	}
	return a, nil
}

func (a *App) build(ctx context.Context, s Settings, o Options) error {
	l := a.link
	signer, err := newSigner(s, o)
	if err != nil {
		return err
	}
	if s.Limits.SignInPerMinute > signInPerMinute || s.Limits.RequestsPerMinute > requestsPerMinute {
		o.Log.WarnContext(ctx, "limits are wider than carekeep promises: 5 sign-ins and 60 requests a minute",
			"sign_in_per_minute", s.Limits.SignInPerMinute, "requests_per_minute", s.Limits.RequestsPerMinute)
	}
	if len(s.WaivedGates) > 0 {
		o.Log.WarnContext(ctx, "gates before patient data are waived; that is for installations without real patients", "gates", s.WaivedGates)
	}
	sender, err := mail.NewSMTP(s.Mail)
	if err != nil {
		return err
	}
	hasher, err := password.NewHasher(s.Argon2id, s.Limits.Hashes, s.Limits.HashesWaiting)
	if err != nil {
		return err
	}
	limiter, err := limit.New(ctx, l.store, l.sealer, s.Limits.SignInPerMinute)
	if err != nil {
		return err
	}
	a.mailer = mail.NewWorker(l.store, l.sealer, sender, o.Log)
	a.sms, err = outbound.New(ctx, outbound.Options{
		Store: l.store, Sealer: l.sealer, Config: s.SMS, PublicURL: s.PublicURL, Log: o.Log, Now: o.clock(),
	})
	if err != nil {
		return err
	}
	a.Server, err = server.New(ctx, s.server(), server.Options{
		Service: accessv1.Service_SERVICE_AUTH, Sink: outbox.NewSink(l.access), Identity: l.identity, Now: o.Now, Log: o.Log,
		Ready: map[string]func(context.Context) error{"database": l.pool.Ping, "transit": l.transit.Ready},
	})
	if err != nil {
		return err
	}
	a.relay.ReportCalls(a.Server.Calls)
	devices, err := device.NewTokens(ctx, l.store, l.sealer)
	if err != nil {
		return err
	}
	if a.records, err = l.identity.Dial(s.Records, accessv1.Service_SERVICE_RECORDS); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	a.purger = &purge.Purger{Store: l.store, Owners: purge.NewRecords(a.records)}
	a.notices = &notice.Worker{
		Notices: &notice.Notices{Store: l.store, Sealer: l.sealer, Now: o.clock(), Poke: a.mailer.Poke}, Log: o.Log,
	}
	a.uses, a.reviews = usage.New(l.store, o.clock()), &certification.Certifications{Store: l.store}
	a.admitter, err = admit.New(admit.Options{
		Store: l.store, Devices: devices, Signer: signer, Now: o.clock(), Idle: s.lifetimes().Idle, PerMinute: s.Limits.RequestsPerMinute,
		Waived: s.waived(), Used: a.uses.Note,
	})
	if err != nil {
		return err
	}
	service := a.service(s, o, hasher, limiter, devices)
	codes, err := a.codes(ctx, s, o, service, limiter)
	if err != nil {
		return err
	}
	authv1.RegisterAuthServiceServer(a.Server, service)
	authv1.RegisterCodeServiceServer(a.Server, codes)
	authv1.RegisterDeviceServiceServer(a.Server, &api.Devices{
		Devices: &device.Devices{Store: l.store}, Sessions: service.Sessions, Accounts: &account.Accounts{Store: l.store},
	})
	authv1.RegisterMessageServiceServer(a.Server, &api.Messages{SMS: a.sms})
	notices := a.notices.Notices
	resets := &reset.Resets{
		Store: l.store, Limiter: limiter, Hasher: hasher, Passwords: s.Passwords, Sealer: l.sealer, Notices: notices,
		PublicURL: s.PublicURL, Queued: a.mailer.Poke,
	}
	if err := resets.Prepare(ctx); err != nil {
		return fmt.Errorf("resets: %w", err)
	}
	authv1.RegisterGuardServiceServer(a.Server, &api.GuardService{
		Guard: &guard.Guard{Store: l.store, Limiter: limiter, Users: service.Users, Notices: notices}, Resets: resets,
		Accounts: &account.Accounts{Store: l.store},
	})
	authv1.RegisterContainmentServiceServer(a.Server, &api.Containments{
		Containments: &containment.Containments{Store: l.store, Now: o.clock()},
		Responses:    &response.Responses{Store: l.store, Notices: notices},
	})
	authv1.RegisterGovernanceServiceServer(a.Server, a.governance())
	return a.passkeys(s, o, limiter, service)
}

// passkeys adds what serves passkeys.
func (a *App) passkeys(s Settings, o Options, limiter *limit.Limiter, service *api.Service) error {
	party, err := passkey.NewRelyingParty(s.Passkeys)
	if err != nil {
		return err
	}
	authv1.RegisterPasskeyServiceServer(a.Server, &api.PasskeyService{
		Passkeys: &passkey.Passkeys{
			Store: a.link.store, Sessions: service.Sessions, Limiter: limiter, Party: party, Now: o.clock(),
			Notices: a.notices.Notices,
		},
		Factors: service.Factors,
	})
	return nil
}

// newSigner loads the signing key and makes sure that services will accept what
// it signs: a key that is not in the key set would turn every request away.
func newSigner(s Settings, o Options) (*caller.Signer, error) {
	signer, err := caller.NewSigner(s.SigningKey)
	if err != nil {
		return nil, err
	}
	verifier, err := caller.NewVerifier(s.Callers.Keys, accessv1.Service_SERVICE_AUTH, o.clock())
	if err != nil {
		return nil, err
	}
	defer verifier.Close()
	probe, err := signer.Sign(caller.Caller{
		User: uuid.Must(uuid.NewV7()), Session: uuid.Must(uuid.NewV7()), Username: "probe",
		Role: accessv1.RoleKind_ROLE_KIND_SUPERADMIN, Assurance: accessv1.Assurance_ASSURANCE_AAL1,
		Purpose: accessv1.Purpose_PURPOSE_OPERATIONS, Audience: accessv1.Service_SERVICE_AUTH,
	}, o.clock()())
	if err != nil {
		return nil, err
	}
	if _, err := verifier.Verify(probe); err != nil {
		return nil, fmt.Errorf("signing_key: its public half must be in callers.keys (%s): %w", s.Callers.Keys, err)
	}
	return signer, nil
}

func (a *App) service(s Settings, o Options, hasher *password.Hasher, limiter *limit.Limiter, devices *device.Tokens) *api.Service {
	l := a.link
	sessions := session.New(l.store, s.lifetimes(), devices, limiter)
	failures := &guard.Failures{Store: l.store, Limiter: limiter}
	factors := &factor.Factors{
		Store: l.store, Sessions: sessions, Limiter: limiter, Failures: failures, Hasher: hasher, Passwords: s.Passwords, Sealer: l.sealer, Now: o.clock(),
		Notices: a.notices.Notices,
	}
	invites := &invite.Invites{
		Store: l.store, Sessions: sessions, Limiter: limiter, Hasher: hasher, Passwords: s.Passwords, Sealer: l.sealer,
		PublicURL: s.PublicURL, Queued: a.mailer.Poke,
	}
	users := &user.Users{Store: l.store, Sealer: l.sealer, Invites: invites, Notices: a.notices.Notices, Now: o.clock()}
	return &api.Service{
		SignIns:   &signin.SignIns{Store: l.store, Sessions: sessions, Limiter: limiter, Failures: failures, Hasher: hasher, Factors: factors},
		Factors:   factors,
		Sessions:  sessions,
		Invites:   invites,
		Admitter:  a.admitter,
		Practices: &practice.Practices{Store: l.store, Sealer: l.sealer, Users: users},
		Users:     users,
		Staff:     &staff.Staff{Store: l.store, Users: users},
	}
}

func (a *App) governance() *api.Governance {
	s := a.link.store
	return &api.Governance{
		Roles: &custom.Roles{Store: s}, Grants: &grant.Grants{Store: s}, Standing: &standing.Standing{Store: s},
		Certifications: a.reviews, Uses: a.uses,
	}
}

// Upkeep runs once what runs every ten minutes beside the purge: the quarterly
// review and what it revokes, and the uses of permissions.
func (a *App) Upkeep(ctx context.Context) error {
	return errors.Join(a.reviews.Tick(ctx), a.uses.Flush(ctx))
}

// purgeEvery is how often rows past their retention are forgotten.
const purgeEvery = 10 * time.Minute

// Run serves until ctx ends, then drains. The workers stop after the last RPC,
// so that what it queued still has a relay.
func (a *App) Run(ctx context.Context) error {
	workers, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	var relayed error
	work.Go(func() { relayed = a.relay.Run(workers) })
	work.Go(func() { a.mailer.Run(workers) })
	work.Go(func() { a.sms.Run(workers) })
	work.Go(func() { a.notices.Run(workers) })
	work.Go(func() { a.purge(workers) })
	work.Go(func() { a.uses.Run(workers, a.log) })
	served := a.Server.Serve(ctx)
	stop()
	work.Wait()
	a.admitter.Close()
	closed := a.records.Close()
	a.link.close()
	return errors.Join(served, relayed, closed)
}

func (a *App) purge(ctx context.Context) {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		tx := a.link.store.In(store.Platform)
		gone := tx.Purge()
		tx.ForgetAttempts()
		if err := tx.Read(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "purge failed; it runs again in ten minutes", telemetry.KeyError, err.Error())
		} else if n, _ := gone.One(); n > 0 {
			a.log.InfoContext(ctx, "purged rows past their retention", "rows", n)
		}
		if accounts, err := a.purger.Round(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "idle accounts could not all be judged; it is tried again in ten minutes", telemetry.KeyError, err.Error())
		} else if accounts > 0 {
			a.log.InfoContext(ctx, "purged accounts that nobody used for three months", "accounts", accounts)
		}
		if err := a.Upkeep(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "the quarterly review was not kept; it runs again in ten minutes", telemetry.KeyError, err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
