package outbound_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
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
	access := pg.NewAccess(pool, pg.Options{Append: outbox.Append, Committed: func() {}})
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

func TestDMD26_ACodeNeedsAnEnrolment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	practice, user := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	require.ErrorContains(t, r.code(practice, user, mobile, false), "CONSENT_MISSING")
	r.work()
	require.Empty(t, r.phone.Texts(mobile))

	require.NoError(t, r.code(practice, user, mobile, true))
	require.NoError(t, r.code(practice, user, mobile, true), "codes have no daily limit, and an enrolment may be repeated")
	r.work()
	texts := r.phone.Texts(mobile)
	require.Len(t, texts, 2)
	require.Equal(t, testkit.SMSFrom, texts[0].From)
	require.Contains(t, texts[0].Body, "Care Example: your code is 482913.")
	require.ErrorContains(t, r.code(uuid.Must(uuid.NewV7()), user, mobile, false), "CONSENT_MISSING", "another practice has no consent")
	require.NotContains(t, r.Log.String(), mobile)
}

func TestAStopBetweenQueueAndSendingWithholdsTheCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	practice, user := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	for _, scope := range []uuid.UUID{practice, store.Platform} {
		number := map[uuid.UUID]string{practice: mobile, store.Platform: "+12025550124"}[scope]
		require.NoError(t, r.code(practice, user, number, true))
		tx := r.store.In(scope)
		tx.Suppress(r.sms.Token(scope, number))
		require.NoError(t, tx.Read(r.Context()))
		r.work()
		require.Empty(t, r.phone.Texts(number))
		require.ErrorContains(t, r.code(practice, user, number, true), "OPTED_OUT", "a fresh enrolment changes nothing")
	}
}

func TestTheProviderIsTriedAgainUnlessItRefusesForGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	practice, user := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(503, 0)
	r.work()
	require.Contains(t, r.Log.String(), "status 503")
	require.NotContains(t, r.Log.String(), mobile)
	r.phone.Answer(0, 0)
	r.work()
	require.Empty(t, r.phone.Texts(mobile), "not before the pause is over")
	r.Clock.Advance(11 * time.Second)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "a message that was sent is not in the queue any more")

	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(503, 0)
	r.work()
	r.phone.Answer(0, 0)
	r.Clock.Advance(10 * time.Minute)
	r.work()
	require.Len(t, r.phone.Texts(mobile), 1, "a code that is too old is not sent")

	require.NoError(t, r.code(practice, user, mobile, true))
	r.phone.Answer(400, 21610)
	r.work()
	r.phone.Answer(0, 0)
	require.ErrorContains(t, r.code(practice, user, mobile, true), "OPTED_OUT", "the provider knows of a stop that we do not")
}
