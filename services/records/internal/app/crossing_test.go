package app_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// premises are things of a practice that the RPCs beside charts and rights name.
type premises struct {
	file
	job, hold, erasure, certificate, opening, glassUser, referral, doctor string
}

// ids are what an answer to another practice must not hold.
func (p premises) ids() []string {
	list := []string{p.patientID, p.noteID}
	for _, name := range []string{p.job, p.hold, p.erasure, p.opening, p.glassUser, p.referral, p.doctor} {
		list = append(list, name[strings.LastIndex(name, "/")+1:])
	}
	return list
}

func nobodys() premises {
	id := func(collection string) string { return collection + "/" + uuid.NewString() }
	return premises{
		file: nowhere(), job: id("keyJobs"), hold: id("legalHolds"), erasure: id("erasures"), certificate: "nobody signed this",
		opening: id("glassOpenings"), glassUser: id("glassUsers"), referral: id("referrals"), doctor: id("users"),
	}
}

type crossing struct {
	rpc  string
	call func(context.Context, grpc.ClientConnInterface, premises) (proto.Message, error)
}

// over makes a crossing of a client's method.
func over[C any, Q, A proto.Message](rpc string, dial func(grpc.ClientConnInterface) C,
	method func(C, context.Context, Q, ...grpc.CallOption) (A, error), request func(premises) Q,
) crossing {
	return crossing{rpc, func(ctx context.Context, conn grpc.ClientConnInterface, p premises) (proto.Message, error) {
		return method(dial(conn), ctx, request(p))
	}}
}

// named are the RPCs that name something of a practice and are in no table of another test.
func named() []crossing {
	life, key := recordsv1.NewLifecycleServiceClient, recordsv1.NewKeysServiceClient
	glass, referral, watch := recordsv1.NewAccessServiceClient, recordsv1.NewReferralServiceClient, recordsv1.NewWatchServiceClient
	return []crossing{
		over("LifecycleService.PlaceLegalHold", life, recordsv1.LifecycleServiceClient.PlaceLegalHold, func(p premises) *recordsv1.PlaceLegalHoldRequest {
			return &recordsv1.PlaceLegalHoldRequest{Patient: p.patient, Reason: recordsv1.LegalHoldReason_LEGAL_HOLD_REASON_LITIGATION, Matter: "x"}
		}),
		over("LifecycleService.ReleaseLegalHold", life, recordsv1.LifecycleServiceClient.ReleaseLegalHold, func(p premises) *recordsv1.ReleaseLegalHoldRequest {
			return &recordsv1.ReleaseLegalHoldRequest{Name: p.hold}
		}),
		over("LifecycleService.RequestErasure", life, recordsv1.LifecycleServiceClient.RequestErasure, func(p premises) *recordsv1.RequestErasureRequest {
			return &recordsv1.RequestErasureRequest{Patient: p.patient, Ground: recordsv1.ErasureGround_ERASURE_GROUND_CONSENT_WITHDRAWN}
		}),
		over("LifecycleService.DecideErasure", life, recordsv1.LifecycleServiceClient.DecideErasure, func(p premises) *recordsv1.DecideErasureRequest {
			return &recordsv1.DecideErasureRequest{Name: p.erasure, Decision: &recordsv1.DecideErasureRequest_Grant{Grant: true}}
		}),
		over("LifecycleService.GetErasure", life, recordsv1.LifecycleServiceClient.GetErasure, func(p premises) *recordsv1.GetErasureRequest {
			return &recordsv1.GetErasureRequest{Name: p.erasure}
		}),
		over("LifecycleService.ReapplyErasure", life, recordsv1.LifecycleServiceClient.ReapplyErasure, func(p premises) *recordsv1.ReapplyErasureRequest {
			return &recordsv1.ReapplyErasureRequest{Certificate: p.certificate}
		}),
		over("KeysService.RotateDataKey", key, recordsv1.KeysServiceClient.RotateDataKey, func(p premises) *recordsv1.RotateDataKeyRequest {
			return &recordsv1.RotateDataKeyRequest{Patient: p.patient}
		}),
		over("KeysService.GetKeyJob", key, recordsv1.KeysServiceClient.GetKeyJob, func(p premises) *recordsv1.GetKeyJobRequest {
			return &recordsv1.GetKeyJobRequest{Name: p.job}
		}),
		over("AccessService.BreakGlass", glass, recordsv1.AccessServiceClient.BreakGlass, func(p premises) *recordsv1.BreakGlassRequest {
			return breakGlass(p.file)
		}),
		over("AccessService.EndGlass", glass, recordsv1.AccessServiceClient.EndGlass, func(p premises) *recordsv1.EndGlassRequest {
			return &recordsv1.EndGlassRequest{Name: p.opening}
		}),
		over("AccessService.ReviewGlass", glass, recordsv1.AccessServiceClient.ReviewGlass, func(p premises) *recordsv1.ReviewGlassRequest {
			return &recordsv1.ReviewGlassRequest{Name: p.opening, Finding: recordsv1.GlassFinding_GLASS_FINDING_JUSTIFIED}
		}),
		over("AccessService.WithdrawGlassUser", glass, recordsv1.AccessServiceClient.WithdrawGlassUser, func(p premises) *recordsv1.WithdrawGlassUserRequest {
			return &recordsv1.WithdrawGlassUserRequest{Name: p.glassUser}
		}),
		over("ReferralService.CreateReferral", referral, recordsv1.ReferralServiceClient.CreateReferral, func(p premises) *recordsv1.CreateReferralRequest {
			return &recordsv1.CreateReferralRequest{Parent: p.patient, To: p.doctor, Reason: referralReason}
		}),
		over("ReferralService.AcceptReferral", referral, recordsv1.ReferralServiceClient.AcceptReferral, func(p premises) *recordsv1.AcceptReferralRequest {
			return &recordsv1.AcceptReferralRequest{Name: p.referral}
		}),
		over("ReferralService.DeclineReferral", referral, recordsv1.ReferralServiceClient.DeclineReferral, func(p premises) *recordsv1.DeclineReferralRequest {
			return &recordsv1.DeclineReferralRequest{Name: p.referral}
		}),
		over("ReferralService.WithdrawReferral", referral, recordsv1.ReferralServiceClient.WithdrawReferral, func(p premises) *recordsv1.WithdrawReferralRequest {
			return &recordsv1.WithdrawReferralRequest{Name: p.referral}
		}),
		over("WatchService.SetVip", watch, recordsv1.WatchServiceClient.SetVip, func(p premises) *recordsv1.SetVipRequest {
			return &recordsv1.SetVipRequest{Name: p.patient, Vip: true}
		}),
		over("WatchService.SetDecoy", watch, recordsv1.WatchServiceClient.SetDecoy, func(p premises) *recordsv1.SetDecoyRequest {
			return &recordsv1.SetDecoyRequest{Name: p.patient, Armed: true}
		}),
	}
}

// wide act on the practice of the caller, whichever that is, or list what it has. They run in this order, and the
// last ones take the practice away: nothing of another one may be told or touched.
func wide(l *lifeRig) []crossing {
	life, key, index := recordsv1.NewLifecycleServiceClient, recordsv1.NewKeysServiceClient, recordsv1.NewIndexServiceClient
	glass, referral, watch := recordsv1.NewAccessServiceClient, recordsv1.NewReferralServiceClient, recordsv1.NewWatchServiceClient
	ended := func(c crossing) crossing {
		return crossing{c.rpc, func(ctx context.Context, conn grpc.ClientConnInterface, p premises) (proto.Message, error) {
			m, err := c.call(ctx, conn, p)
			if err != nil {
				return nil, err
			}
			return l.finished(l.first, m.(*recordsv1.KeyJob), nil), nil
		}}
	}
	return []crossing{
		over("LifecycleService.ListLegalHolds", life, recordsv1.LifecycleServiceClient.ListLegalHolds, always(&recordsv1.ListLegalHoldsRequest{ShowReleased: true})),
		over("LifecycleService.UpdateRetention", life, recordsv1.LifecycleServiceClient.UpdateRetention, always(&recordsv1.UpdateRetentionRequest{Years: 20})),
		over("LifecycleService.GetRetention", life, recordsv1.LifecycleServiceClient.GetRetention, always(&recordsv1.GetRetentionRequest{})),
		over("LifecycleService.PurgePatients", life, recordsv1.LifecycleServiceClient.PurgePatients, always(&recordsv1.PurgePatientsRequest{})),
		over("LifecycleService.ListErasures", life, recordsv1.LifecycleServiceClient.ListErasures, always(&recordsv1.ListErasuresRequest{})),
		over("LifecycleService.GetCertificateKeys", life, recordsv1.LifecycleServiceClient.GetCertificateKeys, always(&recordsv1.GetCertificateKeysRequest{})),
		over("KeysService.GetKeyStatus", key, recordsv1.KeysServiceClient.GetKeyStatus, always(&recordsv1.GetKeyStatusRequest{})),
		ended(over("KeysService.ScrubStore", key, recordsv1.KeysServiceClient.ScrubStore, always(&recordsv1.ScrubStoreRequest{}))),
		ended(over("KeysService.RotatePracticeKey", key, recordsv1.KeysServiceClient.RotatePracticeKey, always(&recordsv1.RotatePracticeKeyRequest{}))),
		ended(over("KeysService.RewrapKeys", key, recordsv1.KeysServiceClient.RewrapKeys, always(&recordsv1.RewrapKeysRequest{}))),
		over("KeysService.TrimPracticeKey", key, recordsv1.KeysServiceClient.TrimPracticeKey, always(&recordsv1.TrimPracticeKeyRequest{})),
		over("KeysService.ListKeyJobs", key, recordsv1.KeysServiceClient.ListKeyJobs, always(&recordsv1.ListKeyJobsRequest{})),
		over("IndexService.GetSearchIndex", index, recordsv1.IndexServiceClient.GetSearchIndex, always(&recordsv1.GetSearchIndexRequest{})),
		over("IndexService.MeasureLeakage", index, recordsv1.IndexServiceClient.MeasureLeakage, always(&recordsv1.MeasureLeakageRequest{})),
		over("IndexService.RebuildSearchIndex", index, recordsv1.IndexServiceClient.RebuildSearchIndex, always(&recordsv1.RebuildSearchIndexRequest{Region: "FR"})),
		over("AccessService.DesignateGlassUser", glass, recordsv1.AccessServiceClient.DesignateGlassUser,
			func(p premises) *recordsv1.DesignateGlassUserRequest {
				return &recordsv1.DesignateGlassUserRequest{User: p.doctor}
			}),
		over("AccessService.ListGlassUsers", glass, recordsv1.AccessServiceClient.ListGlassUsers, always(&recordsv1.ListGlassUsersRequest{})),
		over("AccessService.ListGlassOpenings", glass, recordsv1.AccessServiceClient.ListGlassOpenings, always(&recordsv1.ListGlassOpeningsRequest{})),
		over("ReferralService.ListReferrals", referral, recordsv1.ReferralServiceClient.ListReferrals, always(&recordsv1.ListReferralsRequest{Closed: true})),
		over("WatchService.ListVips", watch, recordsv1.WatchServiceClient.ListVips, always(&recordsv1.ListVipsRequest{})),
		over("WatchService.ListDecoys", watch, recordsv1.WatchServiceClient.ListDecoys, always(&recordsv1.ListDecoysRequest{})),
		over("LifecycleService.RequestPracticeExit", life, recordsv1.LifecycleServiceClient.RequestPracticeExit, always(&recordsv1.RequestPracticeExitRequest{})),
		over("LifecycleService.CancelPracticeExit", life, recordsv1.LifecycleServiceClient.CancelPracticeExit, always(&recordsv1.CancelPracticeExitRequest{})),
		{"LifecycleService.ApprovePracticeExit", func(ctx context.Context, conn grpc.ClientConnInterface, _ premises) (proto.Message, error) {
			if _, err := life(conn).RequestPracticeExit(l.as(l.next), &recordsv1.RequestPracticeExitRequest{}); err != nil {
				return nil, err
			}
			return life(conn).ApprovePracticeExit(ctx, &recordsv1.ApprovePracticeExitRequest{})
		}},
		over("LifecycleService.GetPracticeExit", life, recordsv1.LifecycleServiceClient.GetPracticeExit, always(&recordsv1.GetPracticeExitRequest{})),
		{"LifecycleService.ExportPractice", func(ctx context.Context, conn grpc.ClientConnInterface, _ premises) (proto.Message, error) {
			stream, err := life(conn).ExportPractice(ctx, &recordsv1.ExportPracticeRequest{})
			if err != nil {
				return nil, err
			}
			all := &recordsv1.ExportPracticeResponse{}
			var content []byte
			for {
				m, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					all.Item = &recordsv1.ExportPracticeResponse_Manifest{Manifest: string(content)}
					return all, nil
				}
				if err != nil {
					return nil, err
				}
				content = append(append(content, m.GetChunk()...), m.GetManifest()...)
			}
		}},
		{"LifecycleService.DestroyPractice", func(ctx context.Context, conn grpc.ClientConnInterface, _ premises) (proto.Message, error) {
			_, manifest, err := l.export(l.first)
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256([]byte(manifest))
			return life(conn).DestroyPractice(ctx, &recordsv1.DestroyPracticeRequest{ManifestDigest: hex.EncodeToString(sum[:])})
		}},
	}
}

func always[Q any](request Q) func(premises) Q { return func(premises) Q { return request } }

// elsewhere are the RPCs that other tests of two practices prove, by service.
func elsewhere() map[string][]string {
	records := append([]string{}, collections...)
	for _, a := range accesses() {
		records = append(records, a.name)
	}
	rights := append([]string{}, byToken...)
	for name := range deskCalls() {
		rights = append(rights, name)
	}
	fhir := append([]string{}, fhirCollections...)
	for name := range fhirAccesses(nowhere()) {
		name, _, _ = strings.Cut(name, "/")
		fhir = append(fhir, name)
	}
	scheduling := append([]string{}, schedulingCollections...)
	for name := range schedulingCalls() {
		scheduling = append(scheduling, name)
	}
	// TestDMD06_DH55_DocumentsAreIsolated
	documents := []string{"UploadDocument", "GetDocument", "ListDocuments", "DownloadDocument", "DeleteDocument"}
	return map[string][]string{
		"RecordsService": records, "RightsService": rights, "FhirService": fhir, "SchedulingService": scheduling, "DocumentService": documents,
	}
}

// Every RPC of every service of records, those of tomorrow too, is in a cross product of two practices.
func TestDMD06_EveryRPCIsInACrossProduct(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	for service, methods := range elsewhere() {
		for _, m := range methods {
			covered[service+"."+m] = true
		}
	}
	for _, c := range append(named(), wide(nil)...) {
		require.False(t, covered[c.rpc], "%s is there twice", c.rpc)
		covered[c.rpc] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("carekeep.records.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				rpc := string(s.Name()) + "." + string(s.Methods().Get(j).Name())
				require.True(t, covered[rpc], "no cross product has a case for %s", rpc)
				delete(covered, rpc)
			}
		}
		return true
	})
	require.Empty(t, covered, "there are no such RPCs")
}

// everyRow is a digest of each table's rows of a practice.
func (h *house) everyRow(practice uuid.UUID) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, row := range h.sql(`SELECT table_name::text FROM information_schema.columns
		WHERE table_schema = 'public' AND column_name = 'practice_id' ORDER BY 1`) {
		table := row[0].(string)
		out[table] = h.sql("SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM "+
			pgx.Identifier{table}.Sanitize()+" t WHERE practice_id = $1", practice)[0][0].(string)
	}
	return out
}

// settle gives a practice one of each thing that a crossing names.
func (l *lifeRig) settle() premises {
	l.t.Helper()
	helper, owner, other := l.designated(), l.doctor(), l.doctor()
	p := premises{file: l.file(owner), glassUser: "glassUsers/" + helper.User.String(), doctor: other.name()}
	erased := l.file(owner)
	l.aged(erased.patient, longAgo)
	gone, err := l.grant(l.next, l.request(erased.patient))
	require.NoError(l.t, err)
	p.certificate = gone.GetCertificate()
	p.erasure, p.hold = l.request(p.patient).GetName(), l.place(l.first, p.patient).GetName()
	opening, err := l.access.BreakGlass(l.as(helper), breakGlass(p.file))
	require.NoError(l.t, err)
	referral, err := l.referrals().CreateReferral(l.as(owner), refer(p.file, other))
	require.NoError(l.t, err)
	job, err := l.keys.ScrubStore(l.as(l.first), &recordsv1.ScrubStoreRequest{})
	p.opening, p.referral, p.job = opening.GetName(), referral.GetName(), l.finished(l.first, job, err).GetName()
	_, err = l.marks().SetVip(l.as(l.officer()), &recordsv1.SetVipRequest{Name: p.patient, Vip: true})
	require.NoError(l.t, err)
	return p
}

// Somebody of another practice who may do everything there gets for each name of ours what a name that nobody has gets,
// learns no id of ours from what the whole practice shows, and may even destroy that practice: no row of ours changes.
func TestDMD06_LifecycleKeysIndexAndAccessKeepPracticesApart(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	ours := l.practice
	p := l.settle()
	before := l.everyRow(ours)
	for _, table := range []string{"documents", "data_keys", "key_jobs", "legal_holds", "erasures", "glass_openings", "glass_users", "referrals", "index_generations", "watch_lists"} {
		require.NotEqual(t, "0", before[table][:1], table)
	}

	l.practice = uuid.New()
	foreign := l.designated()
	foreign.Permissions = everything()
	l.first, l.next = l.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything()), l.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	theirs := l.file(foreign)
	for _, c := range named() {
		_, random := c.call(l.as(foreign), l.conn, nobodys())
		_, got := c.call(l.as(foreign), l.conn, p)
		require.Contains(t, []codes.Code{codes.NotFound, codes.InvalidArgument}, status.Code(got), "%s: %v", c.rpc, got)
		require.True(t, proto.Equal(status.Convert(random).Proto(), status.Convert(got).Proto()), "%s: %v, and for nobody's %v", c.rpc, got, random)
	}
	for _, c := range wide(l) {
		got, err := c.call(l.as(l.first), l.conn, p)
		if c.rpc == "KeysService.TrimPracticeKey" { // nothing is due
			require.NotEqual(t, codes.OK, status.Code(err))
			continue
		}
		require.NoError(t, err, c.rpc)
		text, err := protojson.Marshal(got)
		require.NoError(t, err)
		for _, id := range p.ids() {
			if c.rpc != "AccessService.DesignateGlassUser" && c.rpc != "AccessService.ListGlassUsers" { // whose user of that id is another
				require.NotContains(t, string(text), id, c.rpc)
			}
		}
	}
	require.Empty(t, l.sql("SELECT FROM documents WHERE practice_id = $1", l.practice), "the other practice is destroyed, with %s", theirs.patient)
	require.Equal(t, before, l.everyRow(ours))
}
