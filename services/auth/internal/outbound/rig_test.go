package outbound_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/auth/internal/outbound"
	"github.com/carekeep/carekeep/services/auth/internal/seal"
	"github.com/carekeep/carekeep/services/auth/internal/store"
	"github.com/carekeep/carekeep/services/auth/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// rig is the module over a real database and transit, without gRPC and without a
// running worker: a test decides when the queue is worked on.
type rig struct {
	*testkit.World
	t     *testing.T
	phone *testkit.Phone
	sms   *outbound.SMS
	store *store.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, phone: testkit.NewPhone(t)}
	r.World = testkit.Prepare(t, r.phone.Use)
	identity, err := r.Postgres.Source("auth")
	require.NoError(t, err)
	ctx := r.Context()
	pool, err := pg.Open(ctx, r.Settings.Database, identity)
	require.NoError(t, err)
	vault, err := transit.New(r.Settings.Transit, identity)
	require.NoError(t, err)
	require.NoError(t, vault.CreateKey(ctx, transit.AuthSecrets, transit.AES256))
	access := pg.NewAccess(pool, pg.Options{Append: outbox.NewCounter().Append, Committed: func() {}})
	t.Cleanup(func() { access.Close(); pool.Close(); vault.Close() })
	r.store = store.New(access, r.Clock.Now)
	r.sms, err = outbound.New(ctx, outbound.Options{
		Store: r.store, Sealer: seal.New(vault), Config: r.Settings.SMS, PublicURL: r.Settings.PublicURL,
		Log: slog.New(slog.NewJSONHandler(r.Log, nil)), Now: r.Clock.Now,
	})
	require.NoError(t, err)
	return r
}

// work does one round of the worker.
func (r *rig) work() {
	r.t.Helper()
	_, err := r.sms.Round(r.Context())
	require.NoError(r.t, err)
}

// code queues a one-time code, after an enrolment if asked to.
func (r *rig) code(practice, user uuid.UUID, number string, enrol bool) error {
	r.t.Helper()
	ctx := r.Context()
	tx := r.store.In(practice)
	if enrol {
		enrolment, err := r.sms.PrepareEnrolment(ctx, practice, user, number)
		require.NoError(r.t, err)
		enrolment.Record(tx)
	}
	queued, err := r.sms.PrepareCode(ctx, practice, user, number, "482913", 10*time.Minute)
	require.NoError(r.t, err)
	queued.Queue(tx)
	return tx.Do(ctx, func() ([]*auditv1.Event, error) { return nil, queued.Err() })
}

const mobile = "+12025550123"

// practice is a practice with one sender of messages.
type practice struct {
	*rig
	*caller.Caller
	campaign store.Campaign
}

func (r *rig) practice(sender string) *practice {
	r.t.Helper()
	p := &practice{rig: r, Caller: &caller.Caller{
		User: uuid.Must(uuid.NewV7()), Practice: uuid.Must(uuid.NewV7()), Session: uuid.Must(uuid.NewV7()), Username: "nurse",
	}}
	var err error
	p.campaign, err = r.sms.CreateCampaign(p.ctx(), p.Caller, store.Campaign{
		Registration: "C1ABCDE", Sender: sender, Brand: "Smith Clinic", Contact: "202-555-0142",
	})
	require.NoError(r.t, err)
	return p
}

// ctx is what a call comes with.
func (p *practice) ctx() context.Context {
	recorder := evidence.New(accessv1.Service_SERVICE_AUTH, "/test/Test", accessv1.Action_ACTION_MESSAGE_SEND, p.Clock.Now)
	recorder.SetCaller(p.Caller)
	return evidence.With(p.Context(), recorder)
}

func (p *practice) agree(number string, category store.Category) store.Consent {
	p.t.Helper()
	consent, err := p.sms.RecordConsent(p.ctx(), p.Caller, outbound.Agreement{Number: number, Category: category, Source: 2})
	require.NoError(p.t, err)
	return consent
}

func (p *practice) send(number string) error {
	_, err := p.sms.Send(p.ctx(), p.Caller, outbound.Draft{Number: number, Campaign: p.campaign.ID, Template: "APPOINTMENT_REMINDER"})
	return err
}

// reply has a number write to another, and returns what the provider delivered.
func (r *rig) reply(from, to, body string) (form []byte, signature string) {
	r.t.Helper()
	form, signature = r.phone.Reply(from, to, body)
	require.NoError(r.t, r.deliver(form, signature))
	return form, signature
}

func (r *rig) deliver(form []byte, signature string) error {
	ctx := evidence.With(r.Context(), evidence.New(accessv1.Service_SERVICE_AUTH, "/test/ReceiveSms", accessv1.Action_ACTION_CONSENT_CHANGE, r.Clock.Now))
	return r.sms.Receive(ctx, form, signature)
}

// denied asserts that the role of the service may not do these.
func (r *rig) denied(statements ...string) {
	r.t.Helper()
	r.Admin(func(ctx context.Context, conn *pgx.Conn) {
		_, err := conn.Exec(ctx, "SET carekeep.practice = '00000000-0000-0000-0000-000000000000'; SET ROLE auth_app")
		require.NoError(r.t, err)
		for _, sql := range statements {
			_, err = conn.Exec(ctx, sql)
			require.ErrorContains(r.t, err, "permission denied", sql)
		}
	})
}
