package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/ledger/rawlog"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/server"
	transitclient "github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/audit/migrations"
)

const (
	logName      = "audit.test/log"
	auditService = accessv1.Service_SERVICE_AUDIT

	patience = 30 * time.Second
	often    = 20 * time.Millisecond
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.transit != nil {
		shared.transit.Stop()
	}
	postgres.StopShared()
	os.Exit(code)
}

// shared is what every test may use at the same time. Its lock also keeps tests from
// issuing certificates of one name over each other.
var shared struct {
	sync.Mutex
	transit *transit.Server
	files   map[string]mtls.Files
}

// identity issues a certificate for a name, once for all tests.
func identity(t testing.TB, name string) *mtls.Source {
	t.Helper()
	source, err := mtls.Load(files(t, name), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return source
}

func files(t testing.TB, name string) mtls.Files {
	t.Helper()
	authority := postgres.ForTest(t).CA()
	shared.Lock()
	defer shared.Unlock()
	if f, ok := shared.files[name]; ok {
		return f
	}
	f, err := authority.Issue(name)
	require.NoError(t, err)
	f.TrustDomain = authority.TrustDomain()
	if shared.files == nil {
		shared.files = map[string]mtls.Files{}
	}
	shared.files[name] = f
	return f
}

// suite is one audit database with its own broker, and the real servers that all tests share.
type suite struct {
	t         testing.TB
	postgres  *postgres.Server
	transit   *transit.Server
	broker    *broker.Server
	database  string
	identity  *mtls.Source
	copies    string
	witnesses []Witness
	bucket    CheckpointBucket
	rules     config.Path // beside the embedded ones; empty for none
	response  Response
	logs      *logs
	shift     atomic.Int64 // what the replicas' clock is ahead of ours, a time.Duration

	mu    sync.Mutex
	watch *pgx.Conn // of size
}

func newSuite(t testing.TB) *suite {
	t.Helper()
	return newSuiteOn(t, postgres.ForTest(t))
}

func newSuiteOn(t testing.TB, db *postgres.Server) *suite {
	t.Helper()
	s := &suite{t: t, postgres: db, copies: t.TempDir(), logs: &logs{}}
	authority := postgres.ForTest(t).CA()
	shared.Lock()
	if shared.transit == nil {
		var err error
		shared.transit, err = transit.Start(context.Background(), transit.Options{CA: authority})
		require.NoError(t, err)
	}
	s.transit = shared.transit
	s.broker = broker.ForTest(t, authority)
	shared.Unlock()
	s.database = db.Database(t, "audit")
	db.Migrate(t, "audit", s.database, migrations.Set)
	s.identity = identity(t, "audit")
	return s
}

// settings are those of a replica of this suite.
func (s *suite) settings() Settings {
	own := files(s.t, "audit")
	jwks := filepath.Join(s.t.TempDir(), "callers.jwks")
	require.NoError(s.t, os.WriteFile(jwks, callerKeys(s.t), 0o600))
	return Settings{
		Server: server.Config{
			Listen: "127.0.0.1:0", TrustDomain: own.TrustDomain, TLS: own,
			Callers: server.Callers{Keys: jwks}, Limits: server.Limits{DrainSeconds: 1},
		},
		Database:      s.postgres.Config(s.database, "audit_app"),
		Broker:        Broker{Broker: s.broker.Broker()},
		Transit:       transitclient.Config{Address: s.transit.Address(), Role: "audit"},
		CheckpointDir: config.Path(s.copies),
		LogName:       logName,
		Reports:       Reports{Nation: "england-and-wales"},
		Tiles:         Tiles{Listen: "127.0.0.1:0"},
		Witnesses:     s.witnesses,

		CheckpointBucket: s.bucket,
		Detection:        Detection{RulesFile: s.rules},
		Reading:          Reading{StallSeconds: 1, Tails: 2},
		Response:         s.response,
	}
}

// start runs a replica until the test ends, or until stop is called.
func (s *suite) start() *replica {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v, err := newService(ctx, s.settings(), s.identity, slog.New(slog.NewJSONHandler(s.logs, nil)), func() time.Time { return time.Now().Add(time.Duration(s.shift.Load())) })
	require.NoError(s.t, err)
	r := &replica{service: v, done: make(chan struct{})}
	var once sync.Once
	r.stop = func() { once.Do(func() { cancel(); <-r.done }) }
	go func() {
		defer close(r.done)
		r.err = v.run(ctx)
	}()
	s.t.Cleanup(r.stop)
	return r
}

type replica struct {
	*service
	stop func()
	done chan struct{}
	err  error
}

// writer starts a replica and waits until it is the writer.
func (s *suite) writer() *replica {
	s.t.Helper()
	r := s.start()
	require.Eventually(s.t, r.appender.Writing, patience, often, "the replica does not become the writer: %s", s.logs)
	return r
}

// logs collects what replicas log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// producer publishes batches as a service does, and collects receipts.
type producer struct {
	s    *suite
	name string
	conn *nats.Conn
	js   jetstream.JetStream

	mu       sync.Mutex
	receipts map[uuid.UUID]int
}

func (s *suite) producer(name string) *producer {
	s.t.Helper()
	conn, err := outbox.Connect(s.broker.Broker(), identity(s.t, name), name, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(s.t, err)
	p := &producer{s: s, name: name, conn: conn, js: js, receipts: map[uuid.UUID]int{}}
	_, err = conn.Subscribe(outbox.ReceiptSubject(name), func(msg *nats.Msg) {
		var r auditv1.Receipt
		if proto.Unmarshal(msg.Data, &r) != nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, raw := range r.GetBatchIds() {
			p.receipts[uuid.UUID(raw)]++
		}
	})
	require.NoError(s.t, err)
	require.Eventually(s.t, conn.IsConnected, patience, often)
	require.NoError(s.t, conn.Flush())
	return p
}

// publish sends a payload under a message id, and again until the broker takes it.
func (p *producer) publish(id uuid.UUID, payload []byte) {
	p.s.t.Helper()
	require.Eventually(p.s.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := p.js.Publish(ctx, outbox.EventSubject(p.name), payload, withID(id))
		return err == nil
	}, patience, often, "the broker takes no message")
}

func withID(id uuid.UUID) jetstream.PublishOpt { return jetstream.WithMsgID(id.String()) }

// send publishes events as one batch and returns the batch's id.
func (p *producer) send(events ...*auditv1.Event) uuid.UUID {
	p.s.t.Helper()
	payload, err := proto.Marshal(&auditv1.Batch{Events: events})
	require.NoError(p.s.t, err)
	id := uuid.Must(uuid.NewV7())
	p.publish(id, payload)
	return id
}

// await waits for the receipts of batches.
func (p *producer) await(ids ...uuid.UUID) {
	p.s.t.Helper()
	for _, id := range ids {
		require.Eventually(p.s.t, func() bool { return p.count(id) > 0 }, patience, often, "no receipt for %s: %s", id, p.s.logs)
	}
}

func (p *producer) count(id uuid.UUID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.receipts[id]
}

var (
	practiceA = uuid.MustParse("0194c9a0-0000-7000-8000-00000000000a")
	practiceB = uuid.MustParse("0194c9a0-0000-7000-8000-00000000000b")
	drSmith   = uuid.MustParse("0194c9a0-0000-7000-8000-000000000051")
	patient1  = uuid.MustParse("0194c9a0-0000-7000-8000-0000000000f1")
)

// event is an access of practice A to a patient, changed by mods.
func event(mods ...func(*auditv1.Event)) *auditv1.Event {
	e := &auditv1.Event{
		EventId: uuid.Must(uuid.NewV7()).String(), EventTime: timestamppb.Now(),
		PracticeId: practiceA.String(), UserId: drSmith.String(), Username: "dr.smith", PatientId: patient1.String(),
		Service: accessv1.Service_SERVICE_RECORDS, Method: "/carekeep.records.v1.RecordsService/GetPatient",
		Caller: accessv1.Service_SERVICE_GATEWAY, Action: accessv1.Action_ACTION_READ,
		Outcome: auditv1.Outcome_OUTCOME_OK, Risk: auditv1.Risk_RISK_LOW, Address: "192.0.2.7",
	}
	for _, mod := range mods {
		mod(e)
	}
	return e
}

// of makes an event that a service may send.
func of(service string) func(*auditv1.Event) {
	return func(e *auditv1.Event) { e.Service, _ = access.ServiceFromName(service) }
}

func (s *suite) pool() *pgxpool.Pool {
	return s.postgres.Pool(s.t, "audit", s.database)
}

// as connects in another role: "audit_app", "audit_owner", "audit_verify" or the superuser "".
func (s *suite) as(role string) *pgx.Conn {
	s.t.Helper()
	var conn *pgx.Conn
	var err error
	switch role {
	case "audit_owner":
		conn, err = s.postgres.Conn(context.Background(), "audit-migrate", role, s.database)
	case "audit_verify":
		conn, err = s.postgres.Conn(context.Background(), "audit-verify", role, s.database)
	case "audit_app":
		conn, err = s.postgres.Conn(context.Background(), "audit", role, s.database)
	default:
		conn, err = s.postgres.AdminConn(context.Background(), s.database)
	}
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// tamper runs statements as a superuser who has switched the triggers off.
func (s *suite) tamper(statements ...string) {
	s.t.Helper()
	conn := s.as("")
	_, err := conn.Exec(context.Background(), "SET session_replication_role = replica")
	require.NoError(s.t, err)
	for _, sql := range statements {
		tag, err := conn.Exec(context.Background(), sql)
		require.NoError(s.t, err, sql)
		require.NotZero(s.t, tag.RowsAffected(), "%s changed nothing", sql)
	}
}

// size is the number of entries in the table; 0 while the database is away.
func (s *suite) size() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.watch == nil || s.watch.IsClosed() {
		var err error
		if s.watch, err = s.postgres.AdminConn(ctx, s.database); err != nil {
			s.watch = nil
			return 0
		}
		s.t.Cleanup(func() { _ = s.watch.Close(context.Background()) })
	}
	_ = s.watch.QueryRow(ctx, "SELECT log_end()").Scan(&n)
	return n
}

// trust is what a verifier outside has: the key file and the checkpoint copies.
func (s *suite) trust() ledger.Trust {
	s.t.Helper()
	var text []byte
	require.Eventually(s.t, func() bool {
		var err error
		text, err = os.ReadFile(filepath.Join(s.copies, "verifier.key"))
		return err == nil
	}, patience, often)
	log, keys, err := ledger.ParseKeys(string(text))
	require.NoError(s.t, err)
	kept, err := ledger.ReadKept(os.DirFS(s.copies), keys)
	require.NoError(s.t, err)
	return ledger.Trust{Log: log, Keys: keys, Kept: kept}
}

// verify exports the log from the database and verifies it offline.
func (s *suite) verify() *ledger.Report {
	s.t.Helper()
	var file bytes.Buffer
	require.NoError(s.t, write(context.Background(), s.pool(), logName, time.Now().Add(time.Duration(24)*time.Hour), &file))
	report, err := ledger.Verify(&file, s.trust())
	require.NoError(s.t, err)
	return report
}

// verifyRaw verifies the rows in the database itself, under the role that can only read them.
func (s *suite) verifyRaw() *ledger.Report {
	s.t.Helper()
	log, err := rawlog.Open(s.t.Context(), s.as("audit_verify"))
	require.NoError(s.t, err)
	defer log.Close(s.t.Context())
	report, err := ledger.VerifyItems(time.Now().Add(24*time.Hour), log.Items(s.t.Context()), s.trust())
	require.NoError(s.t, err)
	return report
}
