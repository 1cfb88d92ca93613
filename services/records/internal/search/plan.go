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
	var err error
	out.Tokens, err = t.lists()
	return out, err
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

// tokens collects the lists of tokens of which a document has one each. No token is made before
// all are counted: each is an HMAC, and parameters that stand again multiply.
type tokens struct {
	q        *Query
	g        index.Generation
	patients []uuid.UUID
	wanted   []wanted
	count    int
	err      error
}

// wanted are the alternatives of one parameter: how many there are, and how each is made.
type wanted struct {
	name  string
	count int
	token func(i int) []byte
}

func (t *tokens) of(x *index.Index, values ...string) []byte {
	return t.g.Token(x, t.q.Type, uuid.Nil, values...)
}

// want adds the alternatives of one parameter, and reports whether there may be more.
func (t *tokens) want(name string, count int, token func(i int) []byte) bool {
	if t.err != nil {
		return false
	}
	if t.count += count; t.count > maxTokens {
		t.err = errs.New(errs.KindInvalid, ReasonTooWide, fmt.Sprintf("The search combines into more than %d values: ask with fewer alternatives.", maxTokens)).
			WithField(name, "has too many alternatives, together with those of the other parameters")
		return false
	}
	t.wanted = append(t.wanted, wanted{name: name, count: count, token: token})
	return true
}

// lists makes the tokens. A parameter with one that leaves nothing to look for
// is refused: it would silently find nothing.
func (t *tokens) lists() ([][][]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	var out [][][]byte
	for _, w := range t.wanted {
		alternatives := make([][]byte, w.count)
		for i := range alternatives {
			if alternatives[i] = w.token(i); alternatives[i] == nil {
				return nil, errs.New(errs.KindInvalid, "QUERY_INVALID",
					"The query says too little: give an identifier with letters or digits, a phone number of at least 7 digits, or a name with a full birth date.").
					WithField(w.name, "leaves nothing to look for once it is normalised")
			}
		}
		out = append(out, alternatives)
	}
	return out, nil
}

func (t *tokens) ofPairs(name string, token func(pair) []byte) {
	for _, list := range t.q.values[name] {
		if !t.want(name, len(list), func(i int) []byte { return token(list[i]) }) {
			return
		}
	}
}

func (t *tokens) ofPatients(name string, token func(uuid.UUID, pair) []byte) {
	for _, list := range t.q.values[name] {
		if !t.want(name, len(t.patients)*len(list), func(i int) []byte { return token(t.patients[i/len(list)], list[i%len(list)]) }) {
			return
		}
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
	givens := v["given"]
	name := func(f, b, g pair) []byte { return t.of(index.NameBirthDate, f.value, g.value, b.value) }
	if len(givens) == 0 {
		givens = [][]pair{{{}}}
		name = func(f, b, _ pair) []byte { return t.of(index.FamilyBirthDate, f.value, b.value) }
	}
	sound := func(n, b, _ pair) []byte { return t.of(index.SoundBirthDate, n.value, b.value) }
	for _, births := range v["birthdate"] {
		if !t.product("family", v["family"], births, givens, name) || !t.product("phonetic", v["phonetic"], births, [][]pair{{{}}}, sound) {
			return
		}
	}
}

// product wants every combination of one of each of names with births and one of each of more,
// and reports whether there may be others.
func (t *tokens) product(name string, names [][]pair, births []pair, more [][]pair, token func(n, b, m pair) []byte) bool {
	for _, a := range names {
		for _, c := range more {
			combined := func(i int) []byte {
				return token(a[i/len(c)/len(births)], births[i/len(c)%len(births)], c[i%len(c)])
			}
			if !t.want(name, len(a)*len(births)*len(c), combined) {
				return false
			}
		}
	}
	return true
}
