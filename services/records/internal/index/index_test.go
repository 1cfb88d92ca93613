package index

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

func generation(t testing.TB, number int32, phonetics bool) Generation {
	t.Helper()
	x, err := envelope.NewIndex(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	return Generation{Number: number, Live: true, Format: Format{Version: Version, Region: "US", Phonetics: phonetics}, tokens: x}
}

// A value with few possible outcomes is refused an index of its own, and together
// with others that tell little; in a compound of enough bits it may stand.
func TestLowEntropyIsRefused(t *testing.T) {
	t.Parallel()
	gender, status := Part{"gender", 1, exact}, Part{"status", 1, exact}
	budget := Budget{TopShare: 1, Documents: 1}
	for name, parts := range map[string][]Part{
		"nothing": {}, "sex": {gender}, "status": {status}, "birth date": {birthDate}, "family name": {family}, "given name": {given},
		"sound": {sound}, "code": {code}, "system": {system}, "day": {day}, "sex and birth date": {gender, birthDate},
		"both names": {family, given}, "code and status": {system, code, status},
	} {
		require.Panics(t, func() { define(Index{Name: name, Parts: parts, Budget: budget}) }, name)
	}
	for name, parts := range map[string][]Part{"sex": {gender}, "status": {status}, "both": {gender, status}, "system": {system}} {
		require.Panics(t, func() { define(Index{Name: name, Parts: parts, OfPatient: true, Budget: budget}) }, "%s of a patient", name)
	}
	require.NotPanics(t, func() {
		define(Index{Name: "sex in a compound", Parts: []Part{family, birthDate, gender}, Budget: budget})
	})
	require.Panics(t, func() { define(Index{Name: "no budget", Parts: []Part{phone}}) })
	ids := map[int16]bool{}
	for _, x := range All() {
		require.NotPanics(t, func() { define(*x) })
		require.False(t, ids[x.ID], "%s has an id of its own", x.Name)
		ids[x.ID] = true
	}
}

func TestSpellingsOfOneValue(t *testing.T) {
	t.Parallel()
	for want, spellings := range map[string][]string{
		"999268812": {"999-26-8812", " 999 26 8812", "９９９268812"},
		"S999A":     {"s99 9a", "S.99/9A"},
	} {
		for _, s := range spellings {
			require.Equal(t, want, Identifier(s), s)
		}
	}
	for want, spellings := range map[string][]string{
		"+15551234567":  {"+1 (555) 123-4567", "555.123.4567", "001 555 123 4567", "1-555-123-4567", "555-123-4567 ext. 89", "５５５-123-4567"},
		"+4930123456":   {"0049 30 123456", "+49 30 123456", "+49 (0)30 123456"},
		"":              {"911", "", "ext. 5", "call me", "+1"},
		"+442079460018": {"+44 20 7946 0018"},
	} {
		for _, s := range spellings {
			require.Equal(t, want, Phone(s, "US"), s)
		}
	}
	require.Equal(t, "+4930123456", Phone("030 123456", "DE"))
	require.Equal(t, "+442079460018", Phone("020 7946 0018", "GB"))
	for want, spellings := range map[string][]string{
		"obriennunez":  {"O'Brien-Núñez", "obrien nunez", "O’BRIEN NUN\u0303EZ"},
		"finnstrasse":  {"ﬁnn STRASSE", "Finn Straße"},
		"lodzaeoslo":   {"Łódź Æ Oslo", "lodz aeoslo"},
		"smith123":     {"Smith123"},
		"aysiyan":      {"Ays\u0327iyan", "Ayşıyan"},
		"":             {" .-", ""},
		"παπαδοπουλοσ": {"Παπαδόπουλος", "ΠΑΠΑΔΟΠΟΥΛΟΣ"},
		"иванов":       {"Иванов"},
	} {
		for _, s := range spellings {
			require.Equal(t, want, Name(s), s)
		}
	}
	require.Equal(t, "ann@example.org", Email(" Ann <ANN@Example.org>"))
	require.Empty(t, Email("nobody"))
	require.Equal(t, []string{"1980-02-29", "", "", ""}, []string{Date("1980-02-29"), Date("1980"), Date("1980-02-30"), Date("1980-02")})
}

func TestNormalisersAreIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Zß.]{1,9}@[a-zA-Z.]{1,9}`)).Draw(t, "value")
		for i, f := range []func(string) string{Identifier, Name, Date, Email} {
			require.Equal(t, f(s), f(f(s)), i)
		}
	})
}

// The codes of the National Archives' own examples.
func TestSoundexIsTheOneOfTheArchives(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Washington": "W252", "Lee": "L000", "Gutierrez": "G362", "Pfister": "P236", "Jackson": "J250", "Tymczak": "T522",
		"Ashcraft": "A261", "Robert": "R163", "Rupert": "R163", "Rubin": "R150", "Honeyman": "H555", "VanDeusen": "V532", "": "", "Иванов": "",
	} {
		require.Equal(t, want, Soundex(name), name)
	}
}

func TestTokensTellTypesGenerationsAndPatientsApart(t *testing.T) {
	t.Parallel()
	g, next := generation(t, 1, false), generation(t, 2, false)
	a, b := uuid.New(), uuid.New()
	code := g.Token(PatientCode, "Observation", a, "s", "c")
	require.Len(t, code, 32)
	require.Equal(t, code, g.Token(PatientCode, "Observation", a, "s", "c"))
	for name, other := range map[string][]byte{
		"patient":    g.Token(PatientCode, "Observation", b, "s", "c"),
		"type":       g.Token(PatientCode, "Condition", a, "s", "c"),
		"generation": next.Token(PatientCode, "Observation", a, "s", "c"),
		"boundary":   g.Token(PatientCode, "Observation", a, "sc", ""),
		"code":       g.Token(PatientCode, "Observation", a, "s", "C"),
	} {
		require.NotEqual(t, code, other, name)
	}
	require.Equal(t, g.Token(PhoneNumber, "Patient", a, "5551234567"), g.Token(PhoneNumber, "Patient", b, "5551234567"))
	require.Nil(t, g.Token(SoundBirthDate, "Patient", a, "Smith", "1980-01-01"), "phonetics are off")
	require.NotNil(t, generation(t, 1, true).Token(SoundBirthDate, "Patient", a, "Smith", "1980-01-01"))
	require.Panics(t, func() { g.Token(PhoneNumber, "Patient", a, "1", "2") })
}

// What is stored is what is expected, and any changed byte is not.
func TestDH17_EveryChangeOfAnEntryIsFound(t *testing.T) {
	t.Parallel()
	g := generation(t, 3, true)
	doc := []byte(`{"identifier":[{"system":"s","value":"1"}],"telecom":[{"system":"phone","value":"555-826-5697"},{"system":"email","value":"a@b.c"}],
		"name":[{"family":"Kreiger123","given":["Ann","B"]},{"family":"X"}],"birthDate":"1949-08-02","gender":"male"}`)
	row := store.Document{Type: "Patient", ID: uuid.New()}
	row.Patient = row.ID
	entries := Entries([]Generation{g}, row, doc)
	counts := map[int16]int{}
	for _, e := range entries {
		counts[e.Index]++
	}
	require.Equal(t, map[int16]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 4, 7: 4}, counts)
	differs := func(stored []store.IndexEntry, indexed bool) bool {
		return g.Differs(store.Stored{Document: row, Index: stored, Indexed: indexed}, doc)
	}
	require.False(t, differs(entries, true))
	require.True(t, differs(entries, false), "a deleted patient is in no index")
	require.False(t, differs(nil, false))
	other := store.IndexEntry{Generation: 4, Index: 1, Token: entries[0].Token}
	require.False(t, differs(append(slices.Clone(entries), other), true), "another generation is none of its business")
	for i := range entries {
		changed := slices.Clone(entries)
		changed[i].Token = slices.Clone(changed[i].Token)
		changed[i].Token[i] ^= 1
		require.True(t, differs(changed, true))
		changed[i] = entries[i]
		changed[i].Index++
		require.True(t, differs(changed, true))
		changed[i] = entries[i]
		changed[i].Generation++
		require.True(t, differs(changed, true))
		require.True(t, differs(slices.Delete(slices.Clone(entries), i, i+1), true))
	}
	require.True(t, differs(append(slices.Clone(entries), entries[0]), true))
	require.Empty(t, Entries([]Generation{g}, row, []byte(`{"gender":"female","birthDate":"1949-08-02","active":true}`)))
	var flood bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&flood, `{"system":"s","value":"%d"},`, i)
	}
	flood.Truncate(flood.Len() - 1)
	require.Len(t, Entries([]Generation{g}, row, []byte(`{"identifier":[`+flood.String()+`]}`)), maxEntries)
}
