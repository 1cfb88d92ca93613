package app_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/devkit/transit"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/services/backup/internal/app"
)

func TestMain(m *testing.M) { postgres.Main(m) }

// house is a running service with everything it needs.
type house struct {
	t        testing.TB
	pg       *postgres.Server
	database string
	dir      string // of the configuration
	file     string
	signer   *caller.Signer
	address  string
}

// newHouse writes the configuration; without restore, the section is left out.
func newHouse(t testing.TB, restore bool) *house {
	pg := postgres.ForTest(t)
	h := &house{t: t, pg: pg, dir: t.TempDir(), database: pg.Database(t, "backup")}
	pg.Migrate(t, "backup", h.database, outbox.Migrations())
	nats, vault := broker.ForTest(t, pg.CA()), transit.ForTest(t, pg.CA())
	h.keys()
	tls := func(name string) string {
		files, err := pg.CA().Issue(name)
		require.NoError(t, err)
		return fmt.Sprintf("{certificate: %s, key: %s, authorities: %s}", files.Certificate, files.Key, files.Authorities)
	}
	text := fmt.Sprintf(`
listen: 127.0.0.1:0
trust_domain: %s
tls: %s
callers: {keys: callers.jwks}
limits: {drain_seconds: 1}
database: {host: %s, port: %d, database: %s, user: backup_app}
broker: {url: "%s"}
transit: {address: "%s", role: backup}
replication: {host: %s, port: %d}
storage_dir: store
`, pg.CA().TrustDomain(), tls("backup"), pg.Host(), pg.Port(), h.database, nats.URL(), vault.Address(), pg.Host(), pg.Port())
	if restore {
		text += fmt.Sprintf("restore: {root: restored, tls: %s}\n", tls("backup-restore"))
	}
	h.file = filepath.Join(h.dir, "backup.yaml")
	require.NoError(t, os.WriteFile(h.file, []byte(text), 0o600))
	return h
}

// keys makes auth's signing key and the file that the service knows it by.
func (h *house) keys() {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(h.t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(h.t, err)
	file := filepath.Join(h.dir, "signing.pem")
	require.NoError(h.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	h.signer, err = caller.NewSigner(file)
	require.NoError(h.t, err)
	var set bytes.Buffer
	require.NoError(h.t, caller.WriteJWKS(&set, public))
	require.NoError(h.t, os.WriteFile(filepath.Join(h.dir, "callers.jwks"), set.Bytes(), 0o600))
}

func (h *house) settings() app.Settings {
	var s app.Settings
	require.NoError(h.t, config.Load(h.file, &s))
	return s
}

func (h *house) serve() *house {
	a, err := app.New(context.Background(), h.settings(), slog.New(slog.DiscardHandler))
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		require.NoError(h.t, <-ended)
	})
	h.address = a.Addr()
	return h
}

// client connects as a service of the mesh.
func (h *house) client(name string) backupv1.BackupServiceClient {
	source, err := h.pg.CA().Source(name)
	require.NoError(h.t, err)
	conn, err := source.Dial(h.address, accessv1.Service_SERVICE_BACKUP)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { conn.Close() })
	return backupv1.NewBackupServiceClient(conn)
}

// as is a context with a superadmin's caller token.
func (h *house) as(assurance accessv1.Assurance, permissions ...accessv1.Permission) context.Context {
	token, err := h.signer.Sign(caller.Caller{
		User: uuid.New(), Session: uuid.New(), Username: "operator", Role: accessv1.RoleKind_ROLE_KIND_SUPERADMIN,
		Assurance: assurance, Purpose: accessv1.Purpose_PURPOSE_OPERATIONS, Audience: accessv1.Service_SERVICE_BACKUP,
		Permissions: access.NewPermissions(permissions...),
	}, time.Now())
	require.NoError(h.t, err)
	ctx, cancel := context.WithTimeout(caller.Attach(context.Background(), token), 2*time.Minute)
	h.t.Cleanup(cancel)
	return ctx
}

// events reads what the service recorded; no audit store takes it away here.
func (h *house) events() (events []*auditv1.Event) {
	conn, err := h.pg.AdminConn(context.Background(), h.database)
	require.NoError(h.t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), "SELECT payload FROM outbox ORDER BY id")
	require.NoError(h.t, err)
	payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(h.t, err)
	for _, raw := range payloads {
		var batch auditv1.Batch
		require.NoError(h.t, proto.Unmarshal(raw, &batch))
		events = append(events, batch.GetEvents()...)
	}
	return events
}

// drain reads a stream to its end.
func drain[M any](stream grpc.ServerStreamingClient[M], err error) ([]*M, error) {
	if err != nil {
		return nil, err
	}
	var all []*M
	for {
		m, err := stream.Recv()
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}
