package app_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/records/internal/search"
)

// inside is a context as the operations behind an RPC get it.
func (h *house) inside(u *user) context.Context {
	h.t.Helper()
	rec := evidence.New(accessv1.Service_SERVICE_RECORDS, "test/Search", accessv1.Action_ACTION_SEARCH, time.Now)
	rec.SetCaller(&u.Caller)
	ctx, cancel := context.WithTimeout(evidence.With(caller.With(context.Background(), &u.Caller), rec), time.Minute)
	h.t.Cleanup(cancel)
	return ctx
}

// page runs a search and returns the ids that it shows.
func (h *house) page(u *user, resourceType, form string) ([]string, string, error) {
	h.t.Helper()
	values, err := url.ParseQuery(form)
	require.NoError(h.t, err)
	q, err := search.Parse(resourceType, values)
	if err != nil {
		return nil, "", err
	}
	got, err := h.app.Engine().Run(h.inside(u), q)
	ids := []string{}
	for _, d := range got.Documents {
		ids = append(ids, d.ID.String())
	}
	return ids, got.Next, err
}

func (h *house) find(u *user, resourceType, form string) []string {
	h.t.Helper()
	ids, _, err := h.page(u, resourceType, form)
	require.NoError(h.t, err, form)
	return ids
}

const searchable = `{"resourceType":"Patient","id":"%s","identifier":[{"system":"urn:mrn","value":"AB-12"},{"value":"lone 7"}],
	"telecom":[{"system":"phone","value":"(555) 826-5697"},{"system":"email","value":"Ann@Example.org"}],"gender":"female",
	"name":[{"family":"O'Brien-Núñez","given":["Ann","Sue"]},{"family":"Smith"}],"birthDate":"1980-02-29"}`

func TestSearchFindsWhatIsStored(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	id, visit, weight := uuid.NewString(), uuid.NewString(), uuid.NewString()
	subject := `"subject":{"reference":"Patient/` + id + `"}`
	h.mustImport(doctor, bundleOf(fmt.Sprintf(searchable, id),
		`{"resourceType":"Encounter","id":"`+visit+`","status":"finished","class":{"code":"AMB"},`+subject+`,"period":{"start":"2026-03-01T09:00:00Z","end":"2026-03-01T09:20:00Z"}}`,
		`{"resourceType":"Observation","id":"`+weight+`","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"29463-7"},{"code":"own|1"}]},`+subject+`}`,
		`{"resourceType":"Patient","id":"`+uuid.NewString()+`","name":[{"family":"Smith","given":["Bob"]}],"birthDate":"1980-02-28"}`))
	for _, s := range []struct{ resourceType, form, want string }{
		{"Patient", "identifier=urn:mrn|ab12", id},
		{"Patient", "identifier=AB12", id},
		{"Patient", "identifier=|LONE-7", id},
		{"Patient", "identifier=urn:other|x,urn:mrn|AB-12", id},
		{"Patient", "identifier=AB12&identifier=lone7", id},
		{"Patient", "identifier=urn:other|AB-12", ""},
		{"Patient", "identifier=|AB-12", ""},
		{"Patient", "identifier=AB12&identifier=other", ""},
		{"Patient", "phone=%2B1 555 826 5697", id},
		{"Patient", "email=ann@example.ORG", id},
		{"Patient", "family=obrien nunez&birthdate=1980-02-29", id},
		{"Patient", "family=SMITH&birthdate=eq1980-02-29", id},
		{"Patient", "family=Smith&given=Sue&birthdate=1980-02-29", id},
		{"Patient", "family=Jones,Smith&given=Zoe,Ann&given=Sue&birthdate=1980-02-29", id},
		{"Patient", "family=Smith&given=Bob&birthdate=1980-02-29", ""},
		{"Patient", "family=Smit&birthdate=1980-02-29", ""},
		{"Patient", "_id=" + id + "&_lastUpdated=gt2020", id},
		{"Patient", "_id=" + id + "&_lastUpdated=lt2020", ""},
		{"Patient", "_id=" + id + "&phone=5558265697", id},
		{"Encounter", "patient=" + id, visit},
		{"Encounter", "patient=Patient/" + id + "&date=2026-03-01", visit},
		{"Encounter", "patient=" + id + "&date=2026-03-02", ""},
		{"Observation", "subject=Patient/" + id + "&code=http://loinc.org|29463-7", weight},
		{"Observation", "patient=" + id + `&code=|own\|1`, weight},
		{"Observation", "patient=" + id + "&code=http://loinc.org|1", ""},
		{"Observation", "patient=" + uuid.NewString() + "&code=http://loinc.org|29463-7", ""},
		{"Observation", "patient=" + id + "&patient=" + uuid.NewString(), ""},
	} {
		form := strings.ReplaceAll(strings.ReplaceAll(s.form, " ", "%20"), `\\`, `\`)
		got := h.find(doctor, s.resourceType, form)
		if s.want == "" {
			require.Empty(t, got, s.form)
		} else {
			require.Equal(t, []string{s.want}, got, s.form)
		}
		require.Empty(t, h.find(stranger, s.resourceType, form), s.form)
	}
}

// A search leaves one event for each patient it shows, and a denial for each named
// patient whom the caller may not see (claim DH-16).
func TestDH16_SearchesAreRecordedByPatient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	a, b := h.file(doctor), h.file(doctor)
	events := h.since(func() {
		require.Len(t, h.find(doctor, "DocumentReference", "patient="+a.patientID+","+b.patientID), 2)
	})
	require.Len(t, events, 2)
	patients := []string{events[0].GetPatientId(), events[1].GetPatientId()}
	slices.Sort(patients)
	want := []string{a.patientID, b.patientID}
	slices.Sort(want)
	require.Equal(t, want, patients)
	for _, form := range []string{"patient=" + a.patientID, "_id=" + a.noteID} {
		events = h.since(func() { require.Empty(t, h.find(stranger, "DocumentReference", form)) })
		require.Len(t, events, 2)
		require.Equal(t, auditv1.Outcome_OUTCOME_DENIED, events[0].GetOutcome())
		require.Equal(t, a.patientID, events[0].GetPatientId())
		require.Equal(t, auditv1.Outcome_OUTCOME_OK, events[1].GetOutcome())
		require.Empty(t, events[1].GetPatientId())
	}
}

// Pages go on where the last one ended, whatever is stored meanwhile, and their
// tokens serve nobody else and no other search.
func TestDMD06_PagesOfASearch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	f := h.file(doctor)
	var bundle []string
	for range 6 {
		bundle = append(bundle, `{"resourceType":"DocumentReference","id":"`+uuid.NewString()+`","status":"current","content":[{"attachment":{"title":"x"}}],"subject":{"reference":"Patient/`+f.patientID+`"}}`)
	}
	got, err := h.importBundle(h.as(doctor), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(bundle...)))
	require.NoError(t, err)
	require.Empty(t, got.problems)
	for _, sort := range []string{"", "&_sort=_lastUpdated"} {
		var seen []string
		ids, next, err := h.page(doctor, "DocumentReference", "_count=3&patient="+f.patientID+sort)
		require.NoError(t, err)
		require.NotContains(t, next, f.patientID)
		first := next
		for {
			seen = append(seen, ids...)
			if next == "" {
				break
			}
			require.Len(t, ids, 3)
			ids, next, err = h.page(doctor, "DocumentReference", "_page="+next)
			require.NoError(t, err)
		}
		require.Len(t, seen, 7)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(seen))), 7)
		colleague := h.doctor()
		other := *doctor
		other.Practice = uuid.New()
		flipped := []byte(first)
		flipped[len(flipped)/2] ^= 1
		for name, try := range map[string]struct {
			who               *user
			resourceType, tok string
		}{
			"another user": {colleague, "DocumentReference", first}, "another practice": {&other, "DocumentReference", first},
			"another type": {doctor, "Observation", first}, "tampered": {doctor, "DocumentReference", string(flipped)},
			"cut": {doctor, "DocumentReference", first[:8]}, "no base64": {doctor, "DocumentReference", "!"},
		} {
			_, _, err := h.page(try.who, try.resourceType, "_page="+try.tok)
			require.Equal(t, "PAGE_TOKEN_INVALID", errs.ReasonOf(err), name)
		}
	}
}

// Two practices with the same patients: a search of one shows nothing of the other,
// by any index, not even to who sees the whole practice.
func TestDMD06_SearchesStayInTheirPractice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ours := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	id := uuid.NewString()
	h.mustImport(ours, bundleOf(fmt.Sprintf(searchable, id)))
	h.practice = uuid.New()
	theirs := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	for _, form := range []string{"identifier=urn:mrn|AB-12", "identifier=AB12", "phone=5558265697", "email=ann@example.org", "_id=" + id,
		"family=Smith&birthdate=1980-02-29", "family=Smith&given=Ann&birthdate=1980-02-29"} {
		require.Equal(t, []string{id}, h.find(ours, "Patient", form), form)
		require.Empty(t, h.find(theirs, "Patient", form), form)
	}
	// Equal values have unequal tokens in two practices.
	h.mustImport(theirs, bundleOf(fmt.Sprintf(searchable, uuid.NewString())))
	require.Empty(t, h.sql("SELECT FROM resource_index a JOIN resource_index b USING (token) WHERE a.practice_id <> b.practice_id"))
	require.NotEmpty(t, h.sql("SELECT FROM resource_index"))
}

// An index row that its document does not account for is DATA_LOSS and a critical
// event (claim DH-17), not a wrong patient.
func TestDH17_TamperedIndexIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	one, other := uuid.NewString(), h.file(doctor)
	h.mustImport(doctor, bundleOf(`{"resourceType":"Patient","id":"`+one+`","telecom":[{"system":"phone","value":"555-111-2222"}]}`))
	require.Equal(t, []string{one}, h.find(doctor, "Patient", "phone=5551112222"))
	h.tamper("UPDATE resource_index SET id = $1, patient_id = $1 WHERE index_id = 3 AND id = $2", other.patientID, one)
	var err error
	events := h.since(func() { _, _, err = h.page(doctor, "Patient", "phone=5551112222") })
	require.Equal(t, "INDEX_BROKEN", errs.ReasonOf(err))
	require.Equal(t, errs.KindDataLoss, errs.KindOf(err))
	last := events[len(events)-1]
	require.Equal(t, auditv1.Risk_RISK_CRITICAL, last.GetRisk())
	require.Equal(t, other.patientID, last.GetPatientId())
}
