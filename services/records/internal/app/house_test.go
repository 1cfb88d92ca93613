package app_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	devtransit "github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/records/internal/app"
	"github.com/carekeep/carekeep/services/records/internal/intake"
	"github.com/carekeep/carekeep/services/records/migrations"
)

// street is what all houses share: one Postgres cluster, one transit engine, one
// authority, and the keys that sign caller tokens.
var street struct {
	once    sync.Once
	vault   *devtransit.Server
	files   mtls.Files
	gateway *mtls.Source
	signer  *caller.Signer
	jwks    string
	dir     string
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if street.vault != nil {
		street.vault.Stop()
	}
	postgres.StopShared()
	if street.dir != "" {
		_ = os.RemoveAll(street.dir)
	}
	os.Exit(code)
}

func build(tb testing.TB) {
	tb.Helper()
	db := postgres.ForTest(tb)
	street.once.Do(func() { street.err = pave(db) })
	require.NoError(tb, street.err)
}

func pave(db *postgres.Server) (err error) {
	if street.dir, err = os.MkdirTemp("", "carekeep-records-*"); err != nil {
		return err
	}
	if street.vault, err = devtransit.Start(context.Background(), devtransit.Options{CA: db.CA()}); err != nil {
		return err
	}
	if street.files, err = db.CA().Issue("records"); err != nil {
		return err
	}
	street.files.TrustDomain = db.CA().TrustDomain()
	if street.gateway, err = db.CA().Source("gateway"); err != nil {
		return err
	}
	return paveKeys()
}

func paveKeys() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	file := filepath.Join(street.dir, "signing.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	if street.signer, err = caller.NewSigner(file); err != nil {
		return err
	}
	var jwks bytes.Buffer
	if err := caller.WriteJWKS(&jwks, street.signer.Public()); err != nil {
		return err
	}
	street.jwks = filepath.Join(street.dir, "callers.jwks")
	return os.WriteFile(street.jwks, jwks.Bytes(), 0o600)
}

// house is one records service with a database of its own, served over mTLS.
type house struct {
	t        testing.TB
	db       *postgres.Server
	database string
	settings app.Settings
	client   recordsv1.RecordsServiceClient
	keys     recordsv1.KeysServiceClient
	index    recordsv1.IndexServiceClient
	access   recordsv1.AccessServiceClient
	conn     *grpc.ClientConn
	address  string
	web      string // host:port of the FHIR API
	practice uuid.UUID
	log      *safeBuffer
	app      *app.App
	stop     func()
	// ahead is how far the house's clock is before the machine's, in nanoseconds.
	ahead atomic.Int64
}

func newHouse(tb testing.TB, changes ...func(*settings)) *house {
	tb.Helper()
	build(tb)
	return newHouseOn(tb, postgres.ForTest(tb), changes...)
}

// newHouseOn is a house in another cluster.
func newHouseOn(tb testing.TB, db *postgres.Server, changes ...func(*settings)) *house {
	tb.Helper()
	h := &house{t: tb, db: db, database: db.Database(tb, "records"), practice: uuid.New(), log: &safeBuffer{}}
	db.Migrate(tb, "records", h.database, migrations.Set, outbox.Migrations())
	h.settings = app.Settings{
		Config: server.Config{
			Listen: "127.0.0.1:0", TrustDomain: street.files.TrustDomain, TLS: street.files,
			Callers: server.Callers{Keys: street.jwks},
		},
		Database: db.Config(h.database, "records_app"),
		// Nobody listens there: events stay in the outbox, where tests read them.
		Broker:  outbox.Broker{URL: "tls://127.0.0.1:1"},
		Transit: transit.Config{Address: street.vault.Address(), Role: "records"},
		Imports: intake.Limits{BatchEntries: 50},
		FHIR:    app.FHIR{Listen: "127.0.0.1:0", Base: fhirBase},
		Auth:    "127.0.0.1:1", // nobody listens there
	}
	for _, change := range changes {
		change(&h.settings)
	}
	h.start()
	tb.Cleanup(func() { h.stop() })
	return h
}

// start runs the service; the test's end, or stop, ends it.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	records, err := app.New(ctx, h.settings, app.Options{Log: slog.New(slog.NewTextHandler(h.log, nil)), Now: h.now})
	require.NoError(h.t, err)
	done := make(chan error, 1)
	go func() { done <- records.Run(ctx) }()
	h.app, h.address, h.web = records, records.Server.Addr().String(), records.Server.HTTPAddr().String()
	conn, err := street.gateway.Dial(h.address, accessv1.Service_SERVICE_RECORDS)
	require.NoError(h.t, err)
	h.keys = recordsv1.NewKeysServiceClient(conn)
	h.index = recordsv1.NewIndexServiceClient(conn)
	h.access = recordsv1.NewAccessServiceClient(conn)
	h.conn, h.client = conn, recordsv1.NewRecordsServiceClient(conn)
	h.stop = sync.OnceFunc(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("records ended with %v", err)
		}
	})
}

// now is the time in the house.
func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// pass lets time pass in the house.
func (h *house) pass(d time.Duration) { h.ahead.Add(int64(d)) }

func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

// user is somebody who calls.
type user struct {
	caller.Caller
}

func (h *house) user(role accessv1.RoleKind, held access.Permissions) *user {
	id := uuid.New()
	return &user{caller.Caller{
		User: id, Practice: h.practice, Session: uuid.New(), Username: "user." + id.String()[:8], Role: role,
		Assurance: accessv1.Assurance_ASSURANCE_AAL2, Permissions: held, Purpose: accessv1.Purpose_PURPOSE_TREATMENT,
		Address: "192.0.2.7", Audience: accessv1.Service_SERVICE_RECORDS,
	}}
}

// doctor holds every permission of the service but the scope of the whole practice.
func (h *house) doctor() *user {
	held := everything()
	held.Remove(accessv1.Permission_PERMISSION_PATIENTS_SCOPE_PRACTICE)
	return h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, held)
}

// receptionist acts for a doctor with what auth's template gives.
func (h *house) receptionist(doctors ...*user) *user {
	u := h.user(accessv1.RoleKind_ROLE_KIND_STAFF, access.NewPermissions(
		accessv1.Permission_PERMISSION_PATIENTS_READ, accessv1.Permission_PERMISSION_PATIENTS_LIST,
		accessv1.Permission_PERMISSION_PATIENTS_SEARCH, accessv1.Permission_PERMISSION_PATIENTS_CREATE,
		accessv1.Permission_PERMISSION_PATIENTS_UPDATE, accessv1.Permission_PERMISSION_PATIENTS_CONTACT_READ,
		accessv1.Permission_PERMISSION_APPOINTMENTS_READ, accessv1.Permission_PERMISSION_APPOINTMENTS_LIST,
		accessv1.Permission_PERMISSION_APPOINTMENTS_CREATE, accessv1.Permission_PERMISSION_APPOINTMENTS_UPDATE,
		accessv1.Permission_PERMISSION_APPOINTMENTS_DELETE, accessv1.Permission_PERMISSION_FHIR_READ,
		accessv1.Permission_PERMISSION_FHIR_LIST, accessv1.Permission_PERMISSION_FHIR_HISTORY_READ,
	))
	for _, d := range doctors {
		u.ActsFor = append(u.ActsFor, d.User)
	}
	return u
}

func everything() access.Permissions {
	var all access.Permissions
	for p := range accessv1.Permission_name {
		all.Add(accessv1.Permission(p))
	}
	return all
}

// as is a context in which the user calls.
func (h *house) as(u *user) context.Context {
	h.t.Helper()
	token, err := street.signer.Sign(u.Caller, h.now())
	require.NoError(h.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h.t.Cleanup(cancel)
	return caller.Attach(ctx, token)
}

// sql runs a query as the superuser, to whom row-level security does not apply.
func (h *house) sql(query string, args ...any) [][]any {
	h.t.Helper()
	conn, err := h.db.AdminConn(context.Background(), h.database)
	require.NoError(h.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(context.Background(), query, args...)
	require.NoError(h.t, err)
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
	require.NoError(h.t, err)
	return out
}

// events are all audit events so far, in the order of their commits.
func (h *house) events() []*auditv1.Event {
	h.t.Helper()
	var out []*auditv1.Event
	for _, row := range h.sql("SELECT payload FROM outbox ORDER BY id") {
		var b auditv1.Batch
		require.NoError(h.t, proto.Unmarshal(row[0].([]byte), &b))
		out = append(out, b.GetEvents()...)
	}
	return out
}

// since runs f and returns the events that it left.
func (h *house) since(f func()) []*auditv1.Event {
	h.t.Helper()
	before := len(h.events())
	f()
	return h.events()[before:]
}

// imported is what an import answered.
type imported struct {
	result   *recordsv1.ImportProgress
	steps    []*recordsv1.ImportProgress
	problems []*recordsv1.ImportProblem
}

// importBundle sends a bundle in chunks.
func (h *house) importBundle(ctx context.Context, o *recordsv1.ImportOptions, in io.Reader) (imported, error) {
	stream, err := h.client.ImportBundle(ctx)
	if err != nil {
		return imported{}, err
	}
	sent := make(chan error, 1)
	go func() { sent <- sendBundle(stream, o, in) }()
	var out imported
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return out, <-sent
		case err != nil:
			return out, err
		case m.GetProblem() != nil:
			out.problems = append(out.problems, m.GetProblem())
		case m.GetProgress() != nil:
			out.steps = append(out.steps, m.GetProgress())
		default:
			out.result = m.GetResult()
		}
	}
}

func sendBundle(stream recordsv1.RecordsService_ImportBundleClient, o *recordsv1.ImportOptions, in io.Reader) error {
	if err := stream.Send(&recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Options{Options: o}}); err != nil {
		return ignoreEOF(err)
	}
	chunk := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, chunk)
		if n > 0 {
			m := &recordsv1.ImportBundleRequest{Item: &recordsv1.ImportBundleRequest_Chunk{Chunk: bytes.Clone(chunk[:n])}}
			if err := stream.Send(m); err != nil {
				return ignoreEOF(err)
			}
		}
		if err != nil {
			return stream.CloseSend()
		}
	}
}

// ignoreEOF: a stream that the server ended says why on Recv.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (h *house) mustImport(u *user, bundle string) imported {
	h.t.Helper()
	got, err := h.importBundle(h.as(u), &recordsv1.ImportOptions{}, bytes.NewReader([]byte(bundle)))
	require.NoError(h.t, err)
	return got
}

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// bundleOf is a transaction bundle of resources; each has its UUID as fullUrl.
func bundleOf(resources ...string) string {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for i, r := range resources {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"resource":%s}`, r)
	}
	b.WriteString(`]}`)
	return b.String()
}

type settings = app.Settings

const (
	patience = 20 * time.Second
	tick     = 20 * time.Millisecond
)

func uuidBytes(tb testing.TB, text string) []byte {
	tb.Helper()
	id, err := uuid.Parse(text)
	require.NoError(tb, err)
	return id[:]
}

func cancelable(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
