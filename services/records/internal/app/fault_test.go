package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/carekeep/carekeep/deploy/local/generator"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/devkit/broker"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/services/records/internal/app"
	"github.com/carekeep/carekeep/services/records/internal/upkeep"
)

// A database that dies in the middle of an import loses nothing that was reported
// as committed, and the same bundle sent again makes nothing twice.
func TestImportSurvivesTheDatabase(t *testing.T) {
	t.Parallel()
	build(t)
	// A cluster of its own, with fsync on, whose death disturbs no other test.
	db, err := postgres.Start(context.Background(), postgres.Options{Dir: t.TempDir(), CA: postgres.ForTest(t).CA()})
	require.NoError(t, err)
	t.Cleanup(db.Stop)
	h := newHouseOn(t, db, func(s *settings) { s.Imports.BatchEntries = 20 })
	doctor := h.doctor()
	var b bytes.Buffer
	const patients = 60
	require.NoError(t, generator.Bundle(&b, generator.Options{Seed: 12, Patients: patients}))

	var committed int64
	for round := 0; ; round++ {
		require.Less(t, round, 20)
		got, err := h.importUntil(doctor, b.Bytes(), func(p *recordsv1.ImportProgress) bool {
			return round < 3 && p.GetCreated() > 0 && p.GetCreated()+p.GetUnchanged() > committed+100
		}, db.Kill)
		if len(got.steps) > 0 {
			last := got.steps[len(got.steps)-1]
			committed = max(committed, last.GetCreated()+last.GetUnchanged())
		}
		if err == nil {
			require.EqualValues(t, patients*generator.PerPatient, got.result.GetCreated()+got.result.GetUnchanged())
			require.Positive(t, round, "the database died at least once")
			require.GreaterOrEqual(t, got.result.GetUnchanged(), committed-got.result.GetCreated())
			break
		}
		require.NoError(t, db.Restart(context.Background()))
		require.GreaterOrEqual(t, h.sql("SELECT count(*) FROM documents")[0][0].(int64), committed, "what was reported is there")
	}
	require.EqualValues(t, patients*generator.PerPatient, h.sql("SELECT count(*) FROM documents")[0][0].(int64))
	require.Empty(t, h.sql("SELECT FROM document_history"), "nothing came twice")
	h.requireEvidenceForAll()
	seals := h.sql("SELECT sum(seals)::bigint FROM data_keys")[0][0].(int64)
	require.EqualValues(t, patients*generator.PerPatient, seals, "the counters tell what is stored")
}

// importUntil imports, and calls act once the condition holds.
func (h *house) importUntil(u *user, bundle []byte, when func(*recordsv1.ImportProgress) bool, act func()) (imported, error) {
	stream, err := h.client.ImportBundle(h.as(u))
	if err != nil {
		return imported{}, err
	}
	go func() { _ = sendBundle(stream, &recordsv1.ImportOptions{}, bytes.NewReader(bundle)) }()
	var out imported
	for acted := false; ; {
		m, err := stream.Recv()
		if err != nil {
			return out, err
		}
		if p := m.GetProgress(); p != nil {
			out.steps = append(out.steps, p)
			if !acted && when(p) {
				acted = true
				act()
			}
		}
		if out.result = m.GetResult(); out.result != nil {
			return out, nil
		}
	}
}

// While the broker is away care goes on; afterwards every event is delivered once, and the
// outbox forgets it on the receipt.
func TestEventsReachTheBroker(t *testing.T) {
	t.Parallel()
	build(t)
	authority := postgres.ForTest(t).CA()
	nats := broker.ForTest(t, authority)
	h := newHouse(t, func(s *settings) { s.Broker = nats.Broker() })
	nats.Shutdown()
	doctor := h.doctor()
	h.file(doctor)
	want := map[string]bool{}
	for _, e := range h.events() {
		want[e.GetEventId()] = true
	}
	require.Len(t, want, 8)

	require.NoError(t, nats.Restart(context.Background()))
	audit, err := authority.Source("audit")
	require.NoError(t, err)
	conn, err := outbox.Connect(nats.Broker(), audit, "audit", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	require.Eventually(t, conn.IsConnected, patience, tick)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: outbox.DefaultStream, Subjects: []string{"audit.events.>"}, Duplicates: 10 * time.Second})
	require.NoError(t, err)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	for len(want) > 0 {
		message, err := consumer.Next(jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		var batch auditv1.Batch
		require.NoError(t, proto.Unmarshal(message.Data(), &batch))
		for _, e := range batch.GetEvents() {
			require.True(t, want[e.GetEventId()])
			delete(want, e.GetEventId())
		}
		rows, err := outbox.RowsOf(message.Headers())
		require.NoError(t, err)
		ids := &auditv1.Receipt{}
		for _, id := range rows {
			ids.BatchIds = append(ids.BatchIds, id[:])
		}
		receipt, err := proto.Marshal(ids)
		require.NoError(t, err)
		require.NoError(t, message.Ack())
		require.NoError(t, conn.Publish(outbox.ReceiptSubject("records"), receipt))
	}
	require.Eventually(t, func() bool { return len(h.sql("SELECT FROM outbox")) == 0 }, patience, tick)
}

// The configuration that we ship loads, states the defaults, and knows every key.
func TestExampleConfiguration(t *testing.T) {
	t.Parallel()
	var s app.Settings
	require.NoError(t, config.Load("../../config/records.example.yaml", &s))
	require.Equal(t, "records_app", s.Database.User)
	require.Equal(t, outbox.DefaultStream, s.Broker.Stream)
	raw, err := json.Marshal(s.Imports)
	require.NoError(t, err)
	require.JSONEq(t, `{"EntryBytes":2097152,"EarlyBytes":8388608,"BatchEntries":200,"BatchBytes":1048576,"Patients":1000000,"Concurrent":4,"PerUser":2}`, string(raw))
	s.Keys.CacheSeconds = 3601
	require.ErrorContains(t, s.Keys.Validate(), "at most 3600")
	s.Keys = app.Keys{CacheMax: 1_000_001}
	require.ErrorContains(t, s.Keys.Validate(), "at most 1000000")
	require.NoError(t, s.Upkeep.Validate())
	for text, l := range map[string]upkeep.Limits{
		"practice_key_days must be at most 730": {PracticeKeyDays: 731}, "data_key_days must be at most 730": {DataKeyDays: 731},
		"data_key_seals must be at most 2147483648": {DataKeySeals: 1<<31 + 1}, "data_key_seals must be at least": {DataKeySeals: 1000},
		"trim_days must be at most 35": {TrimDays: 36}, "scrub_days must be positive": {ScrubDays: -1},
	} {
		require.ErrorContains(t, l.Validate(), text)
	}
	s.Imports.Concurrent = -1
	require.Error(t, s.Imports.Validate())
}
