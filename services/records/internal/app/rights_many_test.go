package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// many is more than any list or check may stop at.
const many = 520

// times runs f as often as it says, several at a time.
func times(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var all errgroup.Group
	all.SetLimit(16)
	for i := range n {
		all.Go(func() error { return f(i) })
	}
	require.NoError(t, all.Wait())
}

// aPage is the names on a page of a list, and the token of the next one.
type aPage func(size int32, token string) (names []string, next string, err error)

func namesOf[T interface{ GetName() string }](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.GetName()
	}
	return out
}

// whole reads a list page by page, and checks that no name comes twice and no page is beyond its size.
func (next aPage) whole(t *testing.T, size int32) (all []string) {
	t.Helper()
	seen := map[string]bool{}
	for token := ""; ; {
		page, after, err := next(size, token)
		require.NoError(t, err)
		require.NotEmpty(t, page)
		require.LessOrEqual(t, len(page), int(size))
		for _, name := range page {
			require.False(t, seen[name], "it comes twice")
			seen[name] = true
		}
		all = append(all, page...)
		if token = after; token == "" {
			return all
		}
	}
}

// However many requests, disclosures and consents a patient has, lists show all of them page by page, and accounting,
// export, amendment, fee and statements of disagreement know the oldest.
func TestRightsAreCompleteHoweverMany(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	f := h.file(doctor)
	patient := f.patient
	hipaa := func(kind recordsv1.RightsKind) *recordsv1.RightsRequest {
		return &recordsv1.RightsRequest{Kind: kind, Law: recordsv1.RightsLaw_RIGHTS_LAW_HIPAA, TimeZone: "America/Chicago"}
	}
	disclose := func(d *recordsv1.Disclosure) (*recordsv1.Disclosure, error) {
		d.Verification, d.Basis = twoMethods, recordsv1.DisclosureBasis_DISCLOSURE_BASIS_JUDICIAL
		return desk.RecordDisclosure(h.as(doctor), &recordsv1.RecordDisclosureRequest{Parent: patient, Disclosure: d})
	}
	first, err := disclose(&recordsv1.Disclosure{Recipient: "The first", Description: "x", Purpose: "x"})
	require.NoError(t, err)
	times(t, many, func(i int) error {
		_, err := disclose(&recordsv1.Disclosure{Recipient: "Court", Description: fmt.Sprint(i), Purpose: "x"})
		return err
	})

	// The oldest requests are those that later ones depend on.
	require.False(t, asked(t, h.as(doctor), desk, patient, hipaa(recordsv1.RightsKind_RIGHTS_KIND_ACCOUNTING)).GetFeeAllowed())
	about := hipaa(recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT)
	about.Resource = "Observation/" + uuid.NewString()
	refused := asked(t, h.as(doctor), desk, patient, about)
	_, err = desk.DecideRightsRequest(h.as(doctor), &recordsv1.DecideRightsRequestRequest{Name: refused.GetName(), Ground: "45 CFR 164.526(a)(2)(iv)", Reason: "It is accurate."})
	require.NoError(t, err)
	_, err = desk.FileStatement(h.as(doctor), &recordsv1.FileStatementRequest{Name: refused.GetName(), Text: "It is not."})
	require.NoError(t, err)
	times(t, many, func(int) error {
		r := ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS)
		r.Description = strings.Repeat("é", 10_000) // a page of them is more than a message may have
		_, err := desk.CreateRightsRequest(h.as(doctor), &recordsv1.CreateRightsRequestRequest{Parent: patient, RightsRequest: r})
		return err
	})
	times(t, many, func(int) error {
		_, err := desk.RecordPatientConsent(h.as(doctor), &recordsv1.RecordPatientConsentRequest{Parent: patient, Consent: &recordsv1.PatientConsent{
			Scope: "Visits", Purpose: "Insurance", Grantee: "Acme Insurance", Evidence: "Form 12",
		}})
		return err
	})

	lists := map[string]aPage{
		"rightsRequests": func(size int32, token string) ([]string, string, error) {
			got, err := desk.ListRightsRequests(h.as(doctor), &recordsv1.ListRightsRequestsRequest{Parent: patient, PageSize: size, PageToken: token})
			return namesOf(got.GetRightsRequests()), got.GetNextPageToken(), err
		},
		"disclosures": func(size int32, token string) ([]string, string, error) {
			got, err := desk.ListDisclosures(h.as(doctor), &recordsv1.ListDisclosuresRequest{Parent: patient, PageSize: size, PageToken: token})
			return namesOf(got.GetDisclosures()), got.GetNextPageToken(), err
		},
		"consents": func(size int32, token string) ([]string, string, error) {
			got, err := desk.ListPatientConsents(h.as(doctor), &recordsv1.ListPatientConsentsRequest{Parent: patient, PageSize: size, PageToken: token})
			return namesOf(got.GetConsents()), got.GetNextPageToken(), err
		},
	}
	counts := map[string]int{"rightsRequests": many + 2, "disclosures": many + 1, "consents": many}
	for name, list := range lists {
		all := list.whole(t, 200)
		require.Len(t, all, counts[name], name)
		page, token, err := list(0, "")
		require.NoError(t, err)
		require.Equal(t, all[:100], page, "the default of %s", name)
		for other := range lists {
			if other != name {
				_, _, err = lists[other](0, token)
				refusedAs(t, "PAGE_TOKEN_INVALID", err)
			}
		}
		_, _, err = list(201, "")
		require.Error(t, err)
	}

	later, err := disclose(&recordsv1.Disclosure{Recipient: "Court", Description: "All", Purpose: "x"})
	require.NoError(t, err)
	require.Equal(t, []string{refused.GetName()}, later.GetStatements())
	require.True(t, asked(t, h.as(doctor), desk, patient, hipaa(recordsv1.RightsKind_RIGHTS_KIND_ACCOUNTING)).GetFeeAllowed())

	account := func(from time.Time) (*recordsv1.AccountingOfDisclosures, error) {
		return desk.AccountDisclosures(h.as(doctor), &recordsv1.AccountDisclosuresRequest{Parent: patient, FromTime: timestamppb.New(from)})
	}
	got, err := account(h.now().AddDate(-1, 0, 0))
	require.NoError(t, err)
	require.Len(t, got.GetEntries(), many+2)
	require.Equal(t, "The first", got.GetEntries()[many+1].GetRecipient())

	// An accounting that no message holds is refused, not cut; the export has it.
	times(t, 200, func(int) error {
		_, err := disclose(&recordsv1.Disclosure{
			DiscloseTime: timestamppb.New(h.now().AddDate(-2, 0, 0)), Recipient: strings.Repeat("あ", 500),
			RecipientAddress: strings.Repeat("あ", 1000), Description: strings.Repeat("あ", 2000), Purpose: strings.Repeat("あ", 2000),
		})
		return err
	})
	_, err = account(h.now().AddDate(-3, 0, 0))
	refusedAs(t, "ACCOUNTING_TOO_LARGE", err)
	_, err = account(h.now().AddDate(-1, 0, 0))
	require.NoError(t, err)
	r := granted(t, h.as(doctor), desk, patient)
	data, err := download(desk.ExportChart(h.as(doctor), &recordsv1.ExportChartRequest{Name: r.GetName()}))
	require.NoError(t, err)
	files := unzip(t, data)
	var accounting recordsv1.AccountingOfDisclosures
	require.NoError(t, protojson.Unmarshal([]byte(files["rights/accounting-of-disclosures.json"]), &accounting))
	require.Len(t, accounting.GetEntries(), many+202)
	var requests recordsv1.ListRightsRequestsResponse
	require.NoError(t, protojson.Unmarshal([]byte(files["rights/requests.json"]), &requests))
	require.Len(t, requests.GetRightsRequests(), many+4)
	var consents recordsv1.ListPatientConsentsResponse
	require.NoError(t, protojson.Unmarshal([]byte(files["rights/consents.json"]), &consents))
	require.Len(t, consents.GetConsents(), many)

	// Whoever received a resource is to be told of its change, the first one too.
	content, err := h.client.GetResource(h.as(doctor), &recordsv1.GetResourceRequest{Type: "Patient", Id: f.patientID})
	require.NoError(t, err)
	about = hipaa(recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT)
	about.Resource = "Patient/" + f.patientID
	change := asked(t, h.as(doctor), desk, patient, about)
	_, err = desk.VerifyRequester(h.as(doctor), &recordsv1.VerifyRequesterRequest{Name: change.GetName(), Verification: twoMethods})
	require.NoError(t, err)
	change, err = desk.AcceptAmendment(h.as(doctor), &recordsv1.AcceptAmendmentRequest{Name: change.GetName(), Etag: "v1", Content: content.GetData()})
	require.NoError(t, err)
	require.Len(t, change.GetInform(), many+202, "all but the export to the person")
	require.Equal(t, first.GetName(), change.GetInform()[len(change.GetInform())-1].GetDisclosure())
}

// More requests are due than are read at a time: each is announced, in one check.
func TestDueRequestsAreAnnouncedHoweverMany(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, desk := h.doctor(), h.desk()
	patient := h.patient(doctor).GetName()
	asked(t, h.as(doctor), desk, patient, ukRequest(recordsv1.RightsKind_RIGHTS_KIND_ACCESS))
	(&lifeRig{house: h}).admin(`INSERT INTO rights_rows SELECT practice_id, type, gen_random_uuid(), patient_id, version, key_id, created_at, updated_at,
		due_on, due_zone, digest, sealed FROM rights_rows, generate_series(1, 1200)`)
	h.pass(27 * day) // nearly due, and so looked at again each time
	announced, err := h.app.CheckDueRequests(context.Background(), h.practice)
	require.NoError(t, err)
	require.Equal(t, 1201, announced)
}
