package app_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/devkit/postgres"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/mtls"
)

// authority stands for auth where an account is to be frozen; tests/e2e has the real one.
type authority struct {
	authv1.UnimplementedGuardServiceServer
	away   atomic.Bool
	mu     sync.Mutex
	frozen map[string]int
	peers  map[accessv1.Service]bool
	calls  [][]string // the reports of each call
}

func (a *authority) FreezeUser(ctx context.Context, r *authv1.FreezeUserRequest) (*authv1.FreezeUserResponse, error) {
	if a.away.Load() {
		return nil, status.Error(codes.Unavailable, "away")
	}
	peer, _ := mtls.PeerService(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen[r.GetPractice()+"/"+r.GetUser()]++
	a.peers[peer] = true
	a.calls = append(a.calls, r.GetReports())
	return &authv1.FreezeUserResponse{}, nil
}

func (a *authority) froze(u *user) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.frozen["practices/"+u.Practice.String()+"/users/"+u.User.String()] > 0
}

// newWatchedHouse is a house with an auth that freezes accounts.
func newWatchedHouse(t *testing.T) (*house, *authority) {
	t.Helper()
	build(t)
	identity, err := postgres.ForTest(t).CA().Source("auth")
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	auth := &authority{frozen: map[string]int{}, peers: map[accessv1.Service]bool{}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(identity.ServerTLS())))
	authv1.RegisterGuardServiceServer(server, auth)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return newHouse(t, func(s *settings) { s.Auth = listener.Addr().String() }), auth
}

func (h *house) marks() recordsv1.WatchServiceClient { return recordsv1.NewWatchServiceClient(h.conn) }

func (h *house) officer() *user {
	return h.administrator(accessv1.Permission_PERMISSION_VIPS_MANAGE, accessv1.Permission_PERMISSION_VIPS_LIST,
		accessv1.Permission_PERMISSION_DECOYS_MANAGE, accessv1.Permission_PERMISSION_DECOYS_LIST,
		accessv1.Permission_PERMISSION_PATIENTS_PURGE, accessv1.Permission_PERMISSION_LEGAL_HOLDS_PLACE,
		accessv1.Permission_PERMISSION_GLASS_REVIEW)
}

func (h *house) arm(f file, armed bool) {
	h.t.Helper()
	_, err := h.marks().SetDecoy(h.as(h.officer()), &recordsv1.SetDecoyRequest{Name: f.patient, Armed: armed})
	require.NoError(h.t, err)
}

// touch is a way to a chart, and what it answers in a form that can be compared.
type touch struct {
	name string
	try  func(h *house, u *user, f file) (string, error)
}

// reads says that the answer is the chart's content, which is the same each time.
func (t touch) reads() bool {
	return strings.HasPrefix(t.name, "Get") || strings.HasPrefix(t.name, "List") || strings.HasPrefix(t.name, "GET")
}

func touches() []touch {
	out := []touch{}
	for _, a := range accesses() {
		out = append(out, touch{a.name, func(h *house, u *user, f file) (string, error) {
			m, err := a.call(h.as(u), h.client, f)
			if err != nil {
				return "", err
			}
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			return string(raw), err
		}})
	}
	for _, path := range []string{"/Patient/{patient}", "/Patient/{patient}/$everything", "/DocumentReference/{note}", "/DocumentReference/{note}/_history"} {
		out = append(out, touch{"GET " + path, func(h *house, u *user, f file) (string, error) {
			got := h.fhir(u, "GET", strings.NewReplacer("{patient}", f.patientID, "{note}", f.noteID).Replace(path), "")
			return answered.ReplaceAllString(got.body, ""), fhirError(got)
		}})
	}
	return append(out,
		touch{"search of a patient", func(h *house, u *user, f file) (string, error) {
			got := h.fhir(u, "POST", "/DocumentReference/_search", "patient=Patient/"+f.patientID, "Content-Type", "application/x-www-form-urlencoded")
			return got.body, fhirError(got)
		}},
		touch{"import", func(h *house, u *user, f file) (string, error) {
			got, err := h.importBundle(h.as(u), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(
				`{"resourceType":"Observation","status":"final","code":{"text":"c"},"id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+f.patientID+`"}}`)))
			require.Empty(h.t, got.problems)
			return "", err
		}},
		touch{"rights", func(h *house, u *user, f file) (string, error) {
			_, err := h.desk().ListRightsRequests(h.as(u), &recordsv1.ListRightsRequestsRequest{Parent: f.patient})
			return "", err
		}},
		touch{"referral", func(h *house, u *user, f file) (string, error) {
			_, err := h.referrals().CreateReferral(h.as(u), refer(f, h.doctor()))
			return "", err
		}},
	)
}

// answered is the time of an answer.
var answered = regexp.MustCompile(`"timestamp":"[^"]*",`)

func fhirError(got fhirAnswer) error {
	if got.status == http.StatusOK {
		return nil
	}
	return status.Error(codes.Unknown, fmt.Sprint(got.status))
}

func critical(events []*auditv1.Event) (out []*auditv1.Event) {
	for _, e := range events {
		if e.GetReason() == "DECOY_TOUCHED" {
			out = append(out, e)
		}
	}
	return out
}

// Whichever way somebody goes for a decoy, allowed or not, a critical event commits, auth freezes
// the account, the next request is refused, and the answer is what it was before the chart was armed.
func TestDecoyTouchIsCriticalAndFreezes(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner := h.doctor()
	f := h.file(owner)
	all := touches()
	// What changes the chart comes after what reads it, and its end last.
	order := func(t touch) int {
		switch {
		case t.name == "DeletePatient":
			return 2
		case t.reads():
			return 0
		default:
			return 1
		}
	}
	slices.SortStableFunc(all, func(a, b touch) int { return order(a) - order(b) })
	calm := h.doctor()
	touchers := make([]*user, len(all))
	for i := range touchers {
		touchers[i] = h.doctor()
	}
	for _, u := range append(touchers, calm) {
		_, err := h.client.AddCareTeamMember(h.as(owner), &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: "users/" + u.User.String()})
		require.NoError(t, err)
	}
	before := map[string]string{}
	for _, touch := range all {
		if touch.reads() {
			answer, err := touch.try(h, calm, f)
			require.NoError(t, err, touch.name)
			before[touch.name] = answer
		}
	}
	h.arm(f, true)
	for i, touch := range all {
		toucher := touchers[i]
		events := critical(h.since(func() {
			after, err := touch.try(h, toucher, f)
			require.NotEqual(t, codes.Unauthenticated, status.Code(err), touch.name)
			require.NotEqual(t, codes.Unavailable, status.Code(err), touch.name)
			if touch.reads() {
				require.NoError(t, err, touch.name)
				require.Equal(t, before[touch.name], after, touch.name)
			}
		}))
		require.NotEmpty(t, events, touch.name)
		require.Equal(t, auditv1.Risk_RISK_CRITICAL, events[0].GetRisk(), touch.name)
		require.Equal(t, f.patientID, events[0].GetPatientId(), touch.name)
		require.Equal(t, toucher.User.String(), events[0].GetUserId(), touch.name)
		require.True(t, auth.froze(toucher), touch.name)
		_, err := h.client.ListPatients(h.as(toucher), &recordsv1.ListPatientsRequest{})
		require.Equal(t, codes.Unauthenticated, status.Code(err), touch.name)
	}
	require.False(t, auth.froze(calm))
	require.Equal(t, map[accessv1.Service]bool{accessv1.Service_SERVICE_RECORDS: true}, auth.peers)
	require.EqualValues(t, 0, h.sql("SELECT count(*) FROM freezes WHERE done_at IS NULL")[0][0])

	// A glass that is broken for it, and somebody who sees nothing of the chart and tries.
	f = h.file(owner)
	helper, stranger := h.designated(), h.doctor()
	h.arm(f, true)
	_, err := h.client.GetNote(h.as(stranger), &recordsv1.GetNoteRequest{Name: f.note})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.True(t, auth.froze(stranger))
	require.NotEmpty(t, critical(h.since(func() {
		_, err := h.access.BreakGlass(h.as(helper), breakGlass(f))
		require.NoError(t, err)
	})))
	require.True(t, auth.froze(helper))
	// Who reviews that is not caught.
	reviewer := h.officer()
	_, err = h.access.ListGlassOpenings(h.as(reviewer), &recordsv1.ListGlassOpeningsRequest{})
	require.NoError(t, err)
	require.False(t, auth.froze(reviewer))
}

// Lists, searches and counts show decoys like everybody else and catch nobody; so does what keeps
// or ends records. Only who manages decoys learns which they are.
func TestDecoysAreShownInPassingLikeEverybodyElse(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner, officer := h.doctor(), h.officer()
	decoy, real := h.file(owner), h.file(owner)
	h.arm(decoy, true)
	require.Empty(t, critical(h.since(func() {
		list, err := h.client.ListPatients(h.as(owner), &recordsv1.ListPatientsRequest{})
		require.NoError(t, err)
		require.Len(t, list.GetPatients(), 2)
		require.True(t, proto.Equal(anonymous(list.GetPatients()[0]), anonymous(list.GetPatients()[1])))
		found, err := h.client.SearchPatients(h.as(owner), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: "555-826-5697"}})
		require.NoError(t, err)
		require.Len(t, found.GetPatients(), 2)
		_, err = h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: real.patient})
		require.NoError(t, err)
		life := recordsv1.NewLifecycleServiceClient(h.conn)
		purged, err := life.PurgePatients(h.as(officer), &recordsv1.PurgePatientsRequest{DryRun: true})
		require.NoError(t, err)
		require.Empty(t, purged.GetPatients())
		_, err = life.PlaceLegalHold(h.as(officer), &recordsv1.PlaceLegalHoldRequest{Patient: decoy.patient, Matter: "Smith v. Jones", Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_LITIGATION})
		require.NoError(t, err)
	})))
	require.False(t, auth.froze(owner))
	require.False(t, auth.froze(officer))
	list, err := h.marks().ListDecoys(h.as(officer), &recordsv1.ListDecoysRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{decoy.patient}, list.GetPatients())
	nosy := h.administrator(accessv1.Permission_PERMISSION_VIPS_LIST)
	_, err = h.marks().ListDecoys(h.as(nosy), &recordsv1.ListDecoysRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = h.marks().SetDecoy(h.as(officer), &recordsv1.SetDecoyRequest{Name: nowhere().patient, Armed: true})
	require.Equal(t, codes.NotFound, status.Code(err))
	elsewhere := *officer
	elsewhere.Practice = uuid.New()
	_, err = h.marks().SetDecoy(h.as(&elsewhere), &recordsv1.SetDecoyRequest{Name: decoy.patient})
	require.NoError(t, err, "nothing of theirs")
	none, err := h.marks().ListDecoys(h.as(&elsewhere), &recordsv1.ListDecoysRequest{})
	require.NoError(t, err)
	require.Empty(t, none.GetPatients())

	h.arm(decoy, false)
	_, err = h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: decoy.patient})
	require.NoError(t, err)
	require.False(t, auth.froze(owner), "disarmed")
}

// A search by what only the decoy has, such as its number, goes for it as an id does.
func TestASearchThatOnlyADecoyAnswersIsATouch(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner, curious := h.doctor(), h.doctor()
	f := h.file(owner)
	_, err := h.client.AddCareTeamMember(h.as(owner), &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: curious.name()})
	require.NoError(t, err)
	h.arm(f, true)
	search := func(u *user, phone string) int {
		found, err := h.client.SearchPatients(h.as(u), &recordsv1.SearchPatientsRequest{Query: &recordsv1.SearchPatientsRequest_Phone{Phone: phone}})
		require.NoError(t, err)
		return len(found.GetPatients())
	}
	require.Zero(t, search(curious, "555-826-0000"))
	require.False(t, auth.froze(curious), "who finds nobody touches nobody")
	require.NotEmpty(t, critical(h.since(func() { require.Equal(t, 1, search(curious, "555-826-5697")) })))
	require.True(t, auth.froze(curious))
}

func anonymous(p *recordsv1.Patient) *recordsv1.Patient {
	out := proto.Clone(p).(*recordsv1.Patient)
	out.Name, out.CreateTime, out.UpdateTime = "", nil, nil
	return out
}

// While auth is away the event commits, the answer is refused, and the account is frozen as soon
// as auth is back, also by a process that started since.
func TestDecoyTouchWhileAuthIsAway(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	owner, other := h.doctor(), h.doctor()
	f := h.file(owner)
	_, err := h.client.AddCareTeamMember(h.as(owner), &recordsv1.AddCareTeamMemberRequest{Name: f.patient + "/careTeam", User: "users/" + other.User.String()})
	require.NoError(t, err)
	h.arm(f, true)
	auth.away.Store(true)
	require.NotEmpty(t, critical(h.since(func() {
		_, err := h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
		require.Equal(t, codes.Unavailable, status.Code(err))
		require.NotContains(t, strings.ToLower(err.Error()), "decoy")
	})))
	got := h.fhir(other, "GET", "/Patient/"+f.patientID+"/$everything", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	_, err = h.client.ListPatients(h.as(owner), &recordsv1.ListPatientsRequest{})
	require.Equal(t, codes.Unauthenticated, status.Code(err), "here it is over at once")
	h.restart()
	require.False(t, auth.froze(owner))
	auth.away.Store(false)
	require.Eventually(t, func() bool { return auth.froze(owner) }, 3*patience, tick)
	require.Eventually(t, func() bool {
		return h.sql("SELECT count(*) FROM freezes WHERE done_at IS NULL")[0][0].(int64) == 0
	}, patience, tick)
}

// snapshot is what somebody who reads the database sees of every table.
func (h *house) snapshot() map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, row := range h.sql("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'") {
		name := row[0].(string)
		for _, content := range h.sql(`SELECT coalesce(string_agg(t.xmin::text || t::text, E'\n' ORDER BY t::text), '') FROM ` + name + ` t`) {
			out[name] = content[0].(string)
		}
	}
	return out
}

// Who reads the database learns nothing of who is marked: no row of a patient changes, not even
// which transaction wrote it; the list is sealed, of one size, and the event of arming names nobody.
func TestMarksTellAReaderOfTheDatabaseNothing(t *testing.T) {
	t.Parallel()
	h, _ := newWatchedHouse(t)
	owner := h.doctor()
	first, second := h.file(owner), h.file(owner)
	h.arm(first, true)
	size := h.sql("SELECT octet_length(sealed) FROM watch_lists")[0][0]
	before := h.snapshot()
	events := h.since(func() { h.arm(second, true) })
	after := h.snapshot()
	var changed []string
	for name := range after {
		if before[name] != after[name] {
			changed = append(changed, name)
		}
	}
	// data_keys counts the seals of the directory's key, as every change of the directory does.
	require.ElementsMatch(t, []string{"watch_lists", "outbox", "data_keys"}, changed)
	for _, line := range strings.Split(after["data_keys"], "\n") {
		if strings.Contains(line, second.patientID) {
			require.Contains(t, before["data_keys"], line, "the patient's own key is not counted")
		}
	}
	require.Equal(t, size, h.sql("SELECT octet_length(sealed) FROM watch_lists")[0][0])
	require.NotContains(t, string(h.sql("SELECT sealed FROM watch_lists")[0][0].([]byte)), string(uuidBytes(t, second.patientID)))
	for _, e := range events {
		require.NotContains(t, e.String(), second.patientID)
	}
}

// Every access to a VIP is of high risk; the scope of the whole practice does not open the chart,
// by no way; and nobody learns of the mark but who may.
func TestVIPIsWatchedAndOpenToThoseWhoTreat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, officer, whole := h.doctor(), h.officer(), h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	f, other := h.file(owner), h.file(owner)
	get := func(u *user, name string) (*recordsv1.Patient, []*auditv1.Event, error) {
		var p *recordsv1.Patient
		var err error
		events := h.since(func() { p, err = h.client.GetPatient(h.as(u), &recordsv1.GetPatientRequest{Name: name}) })
		return p, events, err
	}
	plain, events, err := get(owner, f.patient)
	require.NoError(t, err)
	require.Equal(t, auditv1.Risk_RISK_LOW, events[len(events)-1].GetRisk())
	_, _, err = get(whole, f.patient)
	require.NoError(t, err)
	events = h.since(func() {
		_, err = h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: f.patient, Vip: true})
		require.NoError(t, err)
	})
	require.Equal(t, "VIP_SET", events[len(events)-1].GetReason())
	require.Equal(t, auditv1.Risk_RISK_HIGH, events[len(events)-1].GetRisk())

	p, events, err := get(owner, f.patient)
	require.NoError(t, err)
	require.True(t, proto.Equal(plain, p), "the chart does not show it")
	last := events[len(events)-1]
	require.Equal(t, auditv1.Risk_RISK_HIGH, last.GetRisk())
	require.Equal(t, "VIP_ACCESS", last.GetReason())
	_, events, err = get(owner, other.patient)
	require.NoError(t, err)
	require.Equal(t, auditv1.Risk_RISK_LOW, events[len(events)-1].GetRisk())
	none := *owner
	none.Purpose = accessv1.Purpose_PURPOSE_UNSPECIFIED
	_, _, err = get(&none, f.patient)
	require.Equal(t, "PURPOSE_REQUIRED", errs.ReasonOf(err))

	// For the scope of the practice there is no such patient.
	for _, a := range accesses() {
		_, theirs := a.call(h.as(whole), h.client, f)
		_, random := a.call(h.as(whole), h.client, nowhere())
		require.Equal(t, codes.NotFound, status.Code(theirs), a.name)
		require.True(t, proto.Equal(status.Convert(random).Proto(), status.Convert(theirs).Proto()), a.name)
	}
	list, err := h.client.ListPatients(h.as(whole), &recordsv1.ListPatientsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetPatients(), 1)
	require.Equal(t, other.patient, list.GetPatients()[0].GetName())
	require.Equal(t, http.StatusNotFound, h.fhir(whole, "GET", "/Patient/"+f.patientID+"/$everything", "").status)
	got, err := h.importBundle(h.as(whole), &recordsv1.ImportOptions{Doctor: "users/" + owner.User.String(), Patient: f.patient}, strings.NewReader(bundleOf(
		`{"resourceType":"Observation","status":"final","code":{"text":"c"},"id":"`+uuid.NewString()+`","subject":{"reference":"Patient/`+f.patientID+`"}}`)))
	require.NoError(t, err)
	require.Len(t, got.problems, 1)
	require.Equal(t, "ENTRY_PATIENT_UNAVAILABLE", got.problems[0].GetReason())
	h.unharmed(owner, f)

	// The emergency, and the referral, still open it.
	helper := h.designated()
	_, err = h.access.BreakGlass(h.as(helper), breakGlass(f))
	require.NoError(t, err)
	_, events, err = get(helper, f.patient)
	require.NoError(t, err)
	require.Equal(t, "BREAK_GLASS", events[len(events)-1].GetReason())
	referred := h.doctor()
	r, err := h.referrals().CreateReferral(h.as(owner), refer(f, referred))
	require.NoError(t, err)
	_, err = h.referrals().AcceptReferral(h.as(referred), &recordsv1.AcceptReferralRequest{Name: r.GetName()})
	require.NoError(t, err)
	_, _, err = get(referred, f.patient)
	require.NoError(t, err)

	// The list is for who may; the mark can be taken back.
	vips, err := h.marks().ListVips(h.as(officer), &recordsv1.ListVipsRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{f.patient}, vips.GetPatients())
	nosy := h.administrator(accessv1.Permission_PERMISSION_DECOYS_LIST)
	_, err = h.marks().ListVips(h.as(nosy), &recordsv1.ListVipsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: f.patient})
	require.NoError(t, err)
	_, _, err = get(whole, f.patient)
	require.NoError(t, err)
}

// The list of marks moves to the directory's next key, and stays what it is.
func TestDTD20_MarksMoveToTheNewKey(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	f, admin := h.file(h.doctor()), h.admin()
	h.arm(f, true)
	j, err := h.keys.RotateDataKey(h.as(admin), &recordsv1.RotateDataKeyRequest{})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, h.finished(admin, j, err).GetState())
	require.Len(t, h.sql("SELECT FROM data_keys WHERE patient_id = $1", uuid.Nil), 1, "the old key is gone")
	h.restart()
	curious := h.doctor()
	_, err = h.client.GetPatient(h.as(curious), &recordsv1.GetPatientRequest{Name: f.patient})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Eventually(t, func() bool { return auth.froze(curious) }, patience, tick)
}

// A decoy that does not open is an alarm, and no fault of who lists patients.
func TestABrokenDecoyCatchesNobodyInPassing(t *testing.T) {
	t.Parallel()
	h, _ := newWatchedHouse(t)
	owner := h.doctor()
	f := h.file(owner)
	h.arm(f, true)
	h.tamper("UPDATE documents SET sealed = sealed || '\\x00' WHERE type = 'Patient' AND id = $1", f.patientID)
	_, err := h.client.ListPatients(h.as(owner), &recordsv1.ListPatientsRequest{})
	require.Equal(t, codes.DataLoss, status.Code(err))
	require.Empty(t, h.sql("SELECT FROM freezes"))
	_, err = h.client.GetPatient(h.as(owner), &recordsv1.GetPatientRequest{Name: f.patient})
	require.Error(t, err)
	require.NotEmpty(t, h.sql("SELECT FROM freezes"), "who goes for it is caught all the same")
}
