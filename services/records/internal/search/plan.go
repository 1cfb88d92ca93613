package search

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// plan turns a query into what the store looks for in one generation of the index.
func (q *Query) plan(practice *keys.Practice, g index.Generation, after store.Cursor) (store.Search, error) {
	out := store.Search{
		Type: q.Type, Updated: q.updated, Generation: g.Number, Oldest: q.oldest, After: after, Limit: q.Count,
		IDs: meet(practice, q.Type, q.ids), Patients: meet(practice, fhir.TypePatient, q.owners),
	}
	if fhir.Directory(q.Type) {
		out.Patients = []uuid.UUID{uuid.Nil} // the index by patient is where the directory is found, too
	}
	t := tokens{q: q, g: g, patients: out.Patients}
	t.ofPairs("identifier", func(p pair) []byte {
		if p.any {
			return t.of(index.IdentifierValue, p.value)
		}
		return t.of(index.IdentifierSystem, p.system, p.value)
	})
	t.ofPairs("phone", func(p pair) []byte { return t.of(index.PhoneNumber, p.value) })
	t.ofPairs("email", func(p pair) []byte { return t.of(index.EmailAddress, p.value) })
	t.ofNames()
	t.ofPatients("code", func(patient uuid.UUID, p pair) []byte {
		return g.Token(index.PatientCode, q.Type, patient, p.system, p.value)
	})
	t.ofPatients("date", func(patient uuid.UUID, p pair) []byte { return g.Token(index.PatientDay, q.Type, patient, p.value) })
	out.Tokens = t.lists
	return out, t.err
}

// meet is which ids are in every list; nil where there is no list.
func meet(practice *keys.Practice, resourceType string, lists [][]string) []uuid.UUID {
	var out []uuid.UUID
	for i, list := range lists {
		ids := make([]uuid.UUID, 0, len(list))
		for _, id := range list {
			u := fhir.StoreID(practice.Index.Digest, resourceType, id)
			if (i == 0 || slices.Contains(out, u)) && !slices.Contains(ids, u) {
				ids = append(ids, u)
			}
		}
		out = ids
	}
	return out
}

// tokens collects the lists of tokens of which a document has one each.
type tokens struct {
	q        *Query
	g        index.Generation
	patients []uuid.UUID
	lists    [][][]byte
	count    int
	err      error
}

func (t *tokens) of(x *index.Index, values ...string) []byte {
	return t.g.Token(x, t.q.Type, uuid.Nil, values...)
}

// list adds the alternatives of one parameter. One that leaves nothing to look for
// is refused: it would silently find nothing.
func (t *tokens) list(name string, alternatives [][]byte) {
	if t.count += len(alternatives); t.count > maxTokens && t.err == nil {
		t.err = errs.New(errs.KindInvalid, ReasonTooWide, fmt.Sprintf("The search combines into more than %d values: ask with fewer alternatives.", maxTokens)).
			WithField(name, "has too many alternatives, together with those of the other parameters")
	}
	for _, token := range alternatives {
		if token == nil && t.err == nil {
			t.err = errs.New(errs.KindInvalid, "QUERY_INVALID",
				"The query says too little: give an identifier with letters or digits, a phone number of at least 7 digits, or a name with a full birth date.").
				WithField(name, "leaves nothing to look for once it is normalised")
		}
	}
	t.lists = append(t.lists, alternatives)
}

func (t *tokens) ofPairs(name string, token func(pair) []byte) {
	for _, list := range t.q.values[name] {
		alternatives := make([][]byte, len(list))
		for i, p := range list {
			alternatives[i] = token(p)
		}
		t.list(name, alternatives)
	}
}

func (t *tokens) ofPatients(name string, token func(uuid.UUID, pair) []byte) {
	for _, list := range t.q.values[name] {
		alternatives := [][]byte{}
		for _, patient := range t.patients {
			for _, p := range list {
				alternatives = append(alternatives, token(patient, p))
			}
		}
		t.list(name, alternatives)
	}
}

// ofNames combines names and birth date. The index holds each family name with
// each given name and the date, so that a document has a token of every combination just
// where it has a value of every parameter (R4 3.1.1.3: parameters are judged one by one).
func (t *tokens) ofNames() {
	v := t.q.values
	if len(v["phonetic"]) > 0 && !t.g.Format.Phonetics && t.err == nil {
		t.err = index.ErrNoPhonetics
		return
	}
	for _, births := range v["birthdate"] {
		for _, families := range v["family"] {
			if len(v["given"]) == 0 {
				t.product("family", families, births, nil, func(f, b, _ pair) []byte { return t.of(index.FamilyBirthDate, f.value, b.value) })
			}
			for _, givens := range v["given"] {
				t.product("family", families, births, givens, func(f, b, g pair) []byte {
					return t.of(index.NameBirthDate, f.value, g.value, b.value)
				})
			}
		}
		for _, names := range v["phonetic"] {
			t.product("phonetic", names, births, nil, func(n, b, _ pair) []byte { return t.of(index.SoundBirthDate, n.value, b.value) })
		}
	}
}

func (t *tokens) product(name string, a, b, c []pair, token func(a, b, c pair) []byte) {
	if c == nil {
		c = []pair{{}}
	}
	var out [][]byte
	for _, x := range a {
		for _, y := range b {
			for _, z := range c {
				if len(out) > maxTokens {
					break
				}
				out = append(out, token(x, y, z))
			}
		}
	}
	t.list(name, out)
}
