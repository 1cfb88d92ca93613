package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/tests/internal/people"
)

// guarded is a stack that waives no gate, with a doctor who has a patient.
type guarded struct {
	t                 *testing.T
	stack             *stack.Stack
	root, ada, doctor *api.Client
	user, practice    string
	chart             string
}

// Every gate before patient data, from the edge to the records: it is named in the
// answer, in turn, and opens when what it asks for is recorded over REST. Times are
// moved in the database, because nobody waits a year here.
func TestDH08_DTD26_DMD20_GatesCloseTheRecordsAndSayWhatOpensThem(t *testing.T) {
	g := newGuarded(t)
	const (
		day   = 24 * time.Hour
		grain = time.Minute // more than a request takes
	)
	now := time.Now()

	// One after another, from a fresh practice on.
	g.closed(accessv1.Gate_GATE_TRAINING, "missing or older than a year", "not attested within 30 days", "no business associate agreement")
	require.NoError(t, g.train(now))
	g.closed(accessv1.Gate_GATE_ATTESTATION)
	g.attest()
	g.closed(accessv1.Gate_GATE_BAA)
	require.NoError(t, g.agree(now.Add(-time.Hour), now.Add(day)))
	g.fill()
	g.open()

	g.exec("UPDATE users SET trained_until = NULL")
	require.NoError(t, g.train(now.Add(-365*day-grain)))
	g.closed(accessv1.Gate_GATE_TRAINING)
	require.NoError(t, g.train(time.Now().Add(-365*day+grain)))
	g.open()
	g.exec("UPDATE users SET trained_until = NULL")
	var refusal *api.Refusal
	require.ErrorAs(t, g.train(now.Add(day)), &refusal)
	require.Equal(t, "TRAINING_NOT_COUNTED", refusal.Reason, "nobody trained tomorrow")
	g.closed(accessv1.Gate_GATE_TRAINING)
	require.NoError(t, g.train(now))
	g.open()

	g.exec("UPDATE devices SET attested = now() - interval '30 days' + $1::interval", grain)
	g.open()
	g.exec("UPDATE devices SET attested = now() - interval '30 days' - interval '1 microsecond'")
	g.closed(accessv1.Gate_GATE_ATTESTATION)
	require.Error(t, g.doctor.Call(t.Context(), http.MethodPost, "/v1/devices:attest", &authv1.AttestDeviceRequest{ScreenLock: true}, nil),
		"a device without disk encryption and antivirus")
	g.closed(accessv1.Gate_GATE_ATTESTATION)
	g.attest()
	g.open()

	require.NoError(t, g.agree(now.Add(-2*day), now.Add(-time.Second)))
	g.closed(accessv1.Gate_GATE_BAA)
	require.NoError(t, g.agree(now.Add(day), now.Add(2*day)))
	g.closed(accessv1.Gate_GATE_BAA)
	require.NoError(t, g.agree(now.Add(-day), now.Add(day)))
	g.open()

	g.passkeys(true)
	g.closed(accessv1.Gate_GATE_FACTOR)
	g.passkeys(false)
	g.open()

	g.exec("UPDATE users SET certified_until = now()")
	g.closed(accessv1.Gate_GATE_CERTIFICATION)
	g.exec("UPDATE users SET certified_until = NULL")
	g.open()
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	enforcing, err := stack.Start(t.Context(), stack.Options{Settings: stack.Settings{
		"auth": {"waived_gates": []string{}, "limits.requests_per_minute": 100000},
	}})
	require.NoError(t, err)
	t.Cleanup(enforcing.Close)
	users, err := people.Seed(t.Context(), enforcing.Place)
	require.NoError(t, err)
	as := func(username string) *api.Client {
		client, err := users.As(t.Context(), username)
		require.NoError(t, err)
		return client
	}
	return &guarded{
		t: t, stack: enforcing, root: as(seed.Superadmin), ada: as(seed.Admin), doctor: as(seed.Smith),
		user: users.Person(seed.Smith).User, practice: users.Practices[seed.Riverside],
		chart: "/v1/patients/" + generator.Patient(population, 0).ID.String(),
	}
}

// fill imports the patient.
func (g *guarded) fill() {
	g.t.Helper()
	var bundle bytes.Buffer
	require.NoError(g.t, generator.Bundle(&bundle, generator.Options{Seed: population, Patients: 1}))
	done, err := g.doctor.Import(g.t.Context(), &bundle, "", nil)
	require.NoError(g.t, err)
	require.Empty(g.t, done.Problems)
}

func (g *guarded) open() {
	g.t.Helper()
	var patient recordsv1.Patient
	require.NoError(g.t, g.doctor.Call(g.t.Context(), http.MethodGet, g.chart, nil, &patient))
	require.NotEmpty(g.t, patient.GetFamilyName())
}

// closed asks for patient data in every way there is, and for what is the doctor's own.
func (g *guarded) closed(gate accessv1.Gate, texts ...string) {
	g.t.Helper()
	var bundle bytes.Buffer
	require.NoError(g.t, generator.Bundle(&bundle, generator.Options{Seed: population, Patients: 1}))
	_, imported := g.doctor.Import(g.t.Context(), &bundle, "", nil)
	problems := map[string]error{"import": imported}
	for _, path := range []string{g.chart, "/v1/patients", g.chart + "/notes", g.chart + "/prescriptions", g.chart + "/fhir/Observation"} {
		problems[path] = g.doctor.Call(g.t.Context(), http.MethodGet, path, nil, nil)
	}
	problems["create"] = g.doctor.Call(g.t.Context(), http.MethodPost, "/v1/patients", &recordsv1.Patient{FamilyName: "Roe"}, nil)
	for way, err := range problems {
		var refusal *api.Refusal
		require.True(g.t, errors.As(err, &refusal), "%s: %v", way, err)
		require.Equal(g.t, http.StatusBadRequest, refusal.Status, "%s: %v", way, err)
		require.Equal(g.t, codes.FailedPrecondition, refusal.Code, way)
		require.Equal(g.t, gate.String(), refusal.Reason, way)
		for _, text := range texts {
			require.Contains(g.t, refusal.Message, text, way)
		}
	}
	require.NoError(g.t, g.doctor.Call(g.t.Context(), http.MethodGet, "/v1/self", nil, nil), "the own account is no patient data")
}

func (g *guarded) train(completed time.Time) error {
	return g.ada.Call(g.t.Context(), http.MethodPost, "/v1/"+g.user+":recordTraining",
		&authv1.RecordTrainingRequest{Course: "HIPAA", CompleteTime: timestamppb.New(completed)}, nil)
}

func (g *guarded) attest() {
	g.t.Helper()
	require.NoError(g.t, g.doctor.Call(g.t.Context(), http.MethodPost, "/v1/devices:attest",
		&authv1.AttestDeviceRequest{ScreenLock: true, DiskEncryption: true, Antivirus: true}, nil))
}

func (g *guarded) agree(begins, ends time.Time) error {
	return g.root.Call(g.t.Context(), http.MethodPost, "/v1/"+g.practice+"/baa", &authv1.RecordBaaRequest{
		Version: "2026", Signatory: "A. Owner", StartTime: timestamppb.New(begins), EndTime: timestamppb.New(ends),
	}, nil)
}

func (g *guarded) passkeys(required bool) {
	g.t.Helper()
	var policy authv1.Policy
	require.NoError(g.t, g.ada.Call(g.t.Context(), http.MethodGet, "/v1/policy", nil, &policy))
	require.NoError(g.t, g.ada.Call(g.t.Context(), http.MethodPost, "/v1/policy:update",
		&authv1.UpdatePolicyRequest{RequirePasskey: required, Etag: policy.GetEtag()}, nil))
}

// exec moves times of everybody.
func (g *guarded) exec(sql string, args ...any) {
	g.t.Helper()
	db, err := g.stack.AdminDB(g.t.Context(), "auth")
	require.NoError(g.t, err)
	defer db.Close(g.t.Context())
	_, err = db.Exec(g.t.Context(), sql, args...)
	require.NoError(g.t, err, sql)
}
