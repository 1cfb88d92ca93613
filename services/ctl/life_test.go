package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/libs/errs"
)

const (
	somebody   = "patients/" + someID
	practiceOf = "Harbour Street Surgery"
)

// asked takes a route's request and answers it; it tells how often.
func asked[M any, P interface {
	*M
	proto.Message
}](t *testing.T, g *gateway, route string, into P, reply func() proto.Message) *int {
	t.Helper()
	n := new(int)
	g.on(t, route, func(w http.ResponseWriter, r *http.Request) {
		*n++
		if r.Method != http.MethodGet && !take(t, r, into) {
			return
		}
		answer(w, reply())
	})
	return n
}

// inPractice makes the practice of whoever is signed in known.
func inPractice(t *testing.T, g *gateway) {
	t.Helper()
	asked(t, g, "GET /v1/self", &authv1.GetSelfRequest{}, func() proto.Message {
		return &authv1.Self{User: &authv1.User{Practice: "practices/" + someID}}
	})
	asked(t, g, "GET /v1/practices/"+someID, &authv1.GetPracticeRequest{}, func() proto.Message {
		return &authv1.Practice{DisplayName: practiceOf}
	})
}

// signing serves the keys of certificates, and signs.
func signing(t *testing.T, g *gateway) (sign func(certificate.Certificate) string, key string) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, certificate.Signer)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	asked(t, g, "GET /v1/certificateKeys", &recordsv1.GetCertificateKeysRequest{}, func() proto.Message {
		return &recordsv1.CertificateKeys{Keys: public + "\n"}
	})
	return func(c certificate.Certificate) string {
		signed, err := c.Sign(signer)
		require.NoError(t, err)
		return signed
	}, public
}

// requireOwn is a file that only its owner reads.
func requireOwn(t *testing.T, file, content string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, content, string(raw))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestHoldsArePlacedListedAndReleased(t *testing.T) {
	g := signedIn(t)
	hold := &recordsv1.LegalHold{
		Name: "legalHolds/" + someID, Patient: somebody, Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_LITIGATION, Matter: "docket 24-1180",
		PlaceTime: timestamppb.New(epoch),
	}
	var place recordsv1.PlaceLegalHoldRequest
	placed := asked(t, g, "POST /v1/legalHolds", &place, func() proto.Message { return hold })
	var query string
	g.on(t, "GET /v1/legalHolds", func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		page := &recordsv1.ListLegalHoldsResponse{LegalHolds: []*recordsv1.LegalHold{hold}}
		if r.URL.Query().Get("pageToken") == "" {
			page.NextPageToken = "more"
		}
		answer(w, page)
	})
	released := asked(t, g, "POST /v1/legalHolds/"+someID+":release", &recordsv1.ReleaseLegalHoldRequest{}, func() proto.Message { return hold })
	const line = "legalHolds/" + someID + "  " + somebody + "  litigation  2026-11-21 13:04:22  -               docket 24-1180\n"

	got := g.run(t, "docket 24-1180\n", "holds", "place", "--patient", someID, "--reason", "litigation")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, line)
	require.True(t, proto.Equal(&recordsv1.PlaceLegalHoldRequest{Patient: somebody, Reason: hold.Reason, Matter: "docket 24-1180"}, &place), "%v", &place)
	got = g.run(t, "x", "holds", "place", "--practice", "--reason", "regulator", "--json")
	require.Zero(t, got.code, got.err)
	require.Empty(t, place.GetPatient())
	require.Contains(t, got.out, `"matter":"docket 24-1180"`)
	require.Equal(t, 2, *placed)
	got = g.run(t, "", "holds", "place", "--practice", "--reason", "regulator")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "no matter given")
	for _, args := range [][]string{{"--reason", "other"}, {"--practice", "--patient", someID, "--reason", "other"}, {"--practice", "--reason", "spite"}, {"--practice"}} {
		require.Equal(t, misused, g.run(t, "x", append([]string{"holds", "place"}, args...)...).code, args)
	}
	require.Equal(t, 2, *placed)

	got = g.run(t, "", "holds", "list", "--released")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, line+line, "both pages")
	require.Contains(t, query, "showReleased=true")
	got = g.run(t, "", "holds", "release", "legalHolds/"+someID)
	require.Zero(t, got.code, got.err)
	require.Equal(t, 1, *released)
}

func TestRetentionIsShownSetAndPurged(t *testing.T) {
	g := signedIn(t)
	inPractice(t, g)
	var change recordsv1.UpdateRetentionRequest
	asked(t, g, "GET /v1/retention", &recordsv1.GetRetentionRequest{}, func() proto.Message { return &recordsv1.Retention{Years: 10, AutomaticPurge: true} })
	asked(t, g, "PATCH /v1/retention", &change, func() proto.Message {
		return &recordsv1.Retention{Years: change.GetYears(), AutomaticPurge: change.GetAutomaticPurge()}
	})
	got := g.run(t, "", "retention", "show")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "10 calendar years after the last contact; patients whose time has ended are purged daily\n", got.out)
	got = g.run(t, "", "retention", "set", "--years", "12", "--json")
	require.Zero(t, got.code, got.err)
	require.JSONEq(t, `{"years":12, "automaticPurge":true}`, got.out, "what is not named stays")
	got = g.run(t, "", "retention", "set", "--no-automatic-purge")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "10 calendar years after the last contact; patients whose time has ended are counted daily, and purged by command\n", got.out)
	got = g.run(t, "", "retention", "set")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "--years")

	var purge recordsv1.PurgePatientsRequest
	purged := asked(t, g, "POST /v1/patients:purge", &purge, func() proto.Message {
		return &recordsv1.PurgePatientsResponse{Patients: []string{somebody}, Held: []string{"patients/" + someID[:35] + "0"}, Skipped: 2, More: true}
	})
	got = g.run(t, "", "retention", "purge", "--dry-run", "--limit", "5")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "due "+somebody+"\nheld patients/")
	require.Contains(t, got.err, "2 changed meanwhile")
	require.Contains(t, got.err, "more are due")
	require.True(t, purge.GetDryRun())
	require.EqualValues(t, 5, purge.GetLimit())

	for _, typed := range []string{"", "y\n", "harbour street surgery\n"} {
		got = g.run(t, typed, "retention", "purge")
		require.Equal(t, failed, got.code, typed)
		require.Contains(t, got.err, "not done: what was typed is not "+practiceOf)
	}
	require.Equal(t, 1, *purged, "nothing was destroyed without the practice's name")
	got = g.run(t, practiceOf+"\n", "retention", "purge")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "purged "+somebody+"\n")
	require.False(t, purge.GetDryRun())
	require.Zero(t, g.run(t, "", "retention", "purge", "--yes").code)
	require.Equal(t, 3, *purged)
}

func TestErasuresAreDecidedOnlyForThePatientThatIsTyped(t *testing.T) {
	g := signedIn(t)
	e := &recordsv1.Erasure{
		Name: "erasures/" + someID, Patient: somebody, State: recordsv1.ErasureState_ERASURE_STATE_REQUESTED, Citation: "GDPR Art. 17(1)(b)",
		RequestTime: timestamppb.New(epoch),
	}
	var ask recordsv1.RequestErasureRequest
	asked(t, g, "POST /v1/erasures", &ask, func() proto.Message { return e })
	asked(t, g, "GET /v1/erasures/"+someID, &recordsv1.GetErasureRequest{}, func() proto.Message { return e })
	asked(t, g, "GET /v1/erasures", &recordsv1.ListErasuresRequest{}, func() proto.Message {
		return &recordsv1.ListErasuresResponse{Erasures: []*recordsv1.Erasure{e}}
	})
	var decision recordsv1.DecideErasureRequest
	decided := asked(t, g, "POST /v1/erasures/"+someID+":decide", &decision, func() proto.Message {
		e.State, e.Certificate = recordsv1.ErasureState_ERASURE_STATE_DONE, "the certificate\n"
		return e
	})
	const line = "erasures/" + someID + "  " + somebody + "  requested  GDPR Art. 17(1)(b)  2026-11-21 13:04:22  -\n"

	got := g.run(t, "", "erasures", "request", someID, "--ground", "consent-withdrawn")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, line)
	require.Equal(t, recordsv1.ErasureGround_ERASURE_GROUND_CONSENT_WITHDRAWN, ask.GetGround())
	require.Equal(t, somebody, ask.GetPatient())
	require.Equal(t, misused, g.run(t, "", "erasures", "request", someID, "--ground", "retention-ended").code, "that is a purge's")
	got = g.run(t, "", "erasures", "list")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, line)

	file := filepath.Join(t.TempDir(), "certificate")
	got = g.run(t, "", "erasures", "show", someID, "--certificate", file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "nothing is destroyed")
	require.NoFileExists(t, file)

	got = g.run(t, "patients/"+uuid.NewString()+"\n", "erasures", "decide", someID, "--grant")
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "not done")
	taken := write(t, "taken", []byte("before"))
	got = g.run(t, somebody+"\n", "erasures", "decide", someID, "--grant", "--certificate", taken)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "exists: remove it or name another file")
	for _, args := range [][]string{{}, {"--grant", "--refuse", "research"}} {
		require.Equal(t, misused, g.run(t, "", append([]string{"erasures", "decide", someID}, args...)...).code, args)
	}
	require.Equal(t, failed, g.run(t, "", "erasures", "decide", someID, "--refuse", "spite").code)
	require.Zero(t, *decided)

	got = g.run(t, "", "erasures", "decide", someID, "--refuse", "legal-obligation")
	require.Zero(t, got.code, got.err)
	require.Equal(t, recordsv1.ErasureExemption_ERASURE_EXEMPTION_LEGAL_OBLIGATION, decision.GetExemption())
	got = g.run(t, somebody+"\n", "erasures", "decide", someID, "--grant", "--certificate", file)
	require.Zero(t, got.code, got.err)
	require.True(t, decision.GetGrant())
	require.Contains(t, got.out, "  done  ")
	requireOwn(t, file, "the certificate\n")
	requireOwn(t, taken, "before")
}

func TestReappliedErasuresNeedACertificateOfAnErasure(t *testing.T) {
	g := signedIn(t)
	sign, public := signing(t, g)
	patient := uuid.New()
	var request recordsv1.ReapplyErasureRequest
	reapplied := asked(t, g, "POST /v1/erasures:reapply", &request, func() proto.Message { return &recordsv1.Erasure{Name: "erasures/" + someID} })
	signed := sign(certificate.Certificate{Kind: certificate.Erasure, Patient: patient})
	forged := write(t, "forged", []byte(sign(certificate.Certificate{Kind: certificate.Erasure})+"x"))
	other := write(t, "exit", []byte(sign(certificate.Certificate{Kind: certificate.PracticeExit})))
	for _, file := range []string{forged, other} {
		require.Equal(t, failed, g.run(t, "", "erasures", "reapply", file, "--yes").code)
	}
	require.Equal(t, failed, g.run(t, "yes\n", "erasures", "reapply", write(t, "c", []byte(signed))).code)
	require.Zero(t, *reapplied)
	got := g.run(t, "patients/"+patient.String()+"\n", "erasures", "reapply", write(t, "c", []byte(signed)))
	require.Zero(t, got.code, got.err)
	require.Equal(t, signed, request.GetCertificate())
	got = g.run(t, "", "certificate", "keys")
	require.Zero(t, got.code, got.err)
	require.Equal(t, public+"\n", got.out)
}

// An export is there with its manifest, whole and as signed, or not at all.
func TestExitExportsWhatTheManifestSaysOrNothing(t *testing.T) {
	g := signedIn(t)
	sign, key := signing(t, g)
	lines := []string{"{\"a\":1}\n{\"b\":", "2}\n"}
	sum := sha256.Sum256([]byte(lines[0] + lines[1]))
	right := sign(certificate.Certificate{Kind: certificate.PracticeExport, Digest: hex.EncodeToString(sum[:])})
	var manifest string
	var broken error
	g.on(t, "POST /v1/practiceExit:export", func(w http.ResponseWriter, _ *http.Request) {
		var items []proto.Message
		for _, l := range lines {
			items = append(items, &recordsv1.ExportPracticeResponse{Item: &recordsv1.ExportPracticeResponse_Chunk{Chunk: []byte(l)}})
		}
		if manifest != "" {
			items = append(items, &recordsv1.ExportPracticeResponse{Item: &recordsv1.ExportPracticeResponse_Manifest{Manifest: manifest}})
		}
		results(w, broken, items...)
	})
	folder := t.TempDir()
	out, signed := filepath.Join(folder, "records.ndjson"), filepath.Join(folder, "manifest")
	export := func(more ...string) ran {
		return g.run(t, "", append([]string{"exit", "export", "--out", out, "--manifest", signed}, more...)...)
	}
	for name, c := range map[string]struct {
		manifest string
		broken   error
	}{
		"cut off":       {"", nil},
		"broken off":    {right, errs.New(errs.KindDataLoss, "SEAL_BROKEN", "broken")},
		"of other data": {sign(certificate.Certificate{Kind: certificate.PracticeExport, Digest: hex.EncodeToString(make([]byte, 32))}), nil},
		"no manifest":   {sign(certificate.Certificate{Kind: certificate.PracticeExit, Digest: hex.EncodeToString(sum[:])}), nil},
		"not signed":    {right + "x", nil},
	} {
		manifest, broken = c.manifest, c.broken
		got := export()
		require.Equal(t, failed, got.code, name)
		require.NoFileExists(t, out, name)
		require.NoFileExists(t, signed, name)
	}
	manifest, broken = right, nil
	_, other := signing(t, newGateway(t))
	require.Equal(t, failed, export("--key", other).code, "signed by somebody whom the user does not know")
	got := export("--key", key)
	require.Zero(t, got.code, got.err)
	want := sha256.Sum256([]byte(right))
	require.Equal(t, hex.EncodeToString(want[:])+"\n", got.out)
	require.Contains(t, got.err, "2 lines")
	requireOwn(t, out, lines[0]+lines[1])
	requireOwn(t, signed, right)
	require.Equal(t, failed, export().code, "nothing is overwritten")
	requireOwn(t, out, lines[0]+lines[1])
}

func TestExitDestroysOnlyThePracticeThatIsTyped(t *testing.T) {
	g := signedIn(t)
	inPractice(t, g)
	e := &recordsv1.PracticeExit{State: recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_REQUESTED, RequestTime: timestamppb.New(epoch)}
	same := func() proto.Message { return e }
	asked(t, g, "GET /v1/practiceExit", &recordsv1.GetPracticeExitRequest{}, same)
	asked(t, g, "POST /v1/practiceExit:request", &recordsv1.RequestPracticeExitRequest{}, same)
	cancelled := asked(t, g, "POST /v1/practiceExit:cancel", &recordsv1.CancelPracticeExitRequest{}, same)
	approved := asked(t, g, "POST /v1/practiceExit:approve", &recordsv1.ApprovePracticeExitRequest{}, same)
	var request recordsv1.DestroyPracticeRequest
	destroyed := asked(t, g, "POST /v1/practiceExit:destroy", &request, func() proto.Message {
		e.State, e.Certificate = recordsv1.PracticeExitState_PRACTICE_EXIT_STATE_DESTROYED, "the certificate\n"
		return e
	})
	got := g.run(t, "", "exit", "request")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "requested, asked for 2026-11-21 13:04:22\n", got.out)
	require.Zero(t, g.run(t, "", "exit", "cancel").code)
	require.Equal(t, 1, *cancelled)
	require.Equal(t, failed, g.run(t, "yes\n", "exit", "approve").code)
	require.Zero(t, *approved)
	e.ApproveTime, e.ManifestDigest = timestamppb.New(epoch), "abc"
	got = g.run(t, practiceOf+"\n", "exit", "approve")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "requested, asked for 2026-11-21 13:04:22, approved 2026-11-21 13:04:22\nmanifest abc\n", got.out)
	got = g.run(t, "", "exit", "status", "--json")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, `"manifestDigest":"abc"`)

	manifest := write(t, "manifest", []byte("signed"))
	file := filepath.Join(t.TempDir(), "certificate")
	got = g.run(t, "", "exit", "status", "--certificate", file)
	require.Equal(t, failed, got.code)
	got = g.run(t, "no\n", "exit", "destroy", "--manifest", manifest, "--certificate", file)
	require.Equal(t, failed, got.code)
	require.Contains(t, got.err, "not done")
	require.NoFileExists(t, file)
	got = g.run(t, practiceOf+"\n", "exit", "destroy", "--manifest", manifest, "--certificate", manifest)
	require.Equal(t, failed, got.code, "nothing is overwritten")
	require.Zero(t, *destroyed)
	got = g.run(t, practiceOf+"\n", "exit", "destroy", "--manifest", manifest, "--certificate", file)
	require.Zero(t, got.code, got.err)
	sum := sha256.Sum256([]byte("signed"))
	require.Equal(t, hex.EncodeToString(sum[:]), request.GetManifestDigest())
	requireOwn(t, file, "the certificate\n")
	again := file + ".again"
	require.Zero(t, g.run(t, "", "exit", "status", "--certificate", again).code)
	requireOwn(t, again, "the certificate\n")
}
