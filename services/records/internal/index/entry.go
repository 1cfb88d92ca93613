package index

import (
	"bytes"
	"strconv"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/envelope"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Generation is one generation of a practice's index, ready to make tokens.
type Generation struct {
	Number int32
	Format Format
	Live   bool
	tokens *envelope.Index
}

// Token is the token of values in an index: nil where the generation has no such
// index, or nothing is left of a value. patient counts only where the index is of one.
func (g Generation) Token(x *Index, resourceType string, patient uuid.UUID, values ...string) []byte {
	if len(values) != len(x.Parts) {
		panic("index: " + x.Name + " takes other parts")
	}
	if x.Phonetic && !g.Format.Phonetics || !x.Holds(resourceType) {
		return nil
	}
	parts := make([]string, 0, len(values)+3)
	parts = append(parts, strconv.Itoa(int(g.Number)), resourceType)
	if x.OfPatient {
		parts = append(parts, patient.String())
	}
	for i, p := range x.Parts {
		normal := p.normal(g.Format, values[i])
		if normal == "" && p.Bits > 0 {
			return nil
		}
		parts = append(parts, normal)
	}
	return g.tokens.Token(x.Name, parts...)
}

// maxEntries bounds the index entries of one document in one generation, so that
// one document cannot flood the index.
const maxEntries = 256

// Entries are the index entries of a document in the generations.
func Entries(generations []Generation, d store.Document, doc []byte) []store.IndexEntry {
	root := gjson.ParseBytes(doc)
	var out []store.IndexEntry
	for _, g := range generations {
		seen := map[string]bool{}
		for _, x := range all {
			values := x.values[d.Type]
			if values == nil {
				continue
			}
			for _, v := range values(root) {
				token := g.Token(x, d.Type, d.Patient, v...)
				if token == nil || seen[string(token)] || len(seen) == maxEntries {
					continue
				}
				seen[string(token)] = true
				out = append(out, store.IndexEntry{Generation: g.Number, Index: x.ID, Token: token})
			}
		}
	}
	return out
}

// Differs reports whether the stored entries of a document in this generation are
// other than they should be: one missing, one too many, or one changed byte.
func (g Generation) Differs(d store.Stored, doc []byte) bool {
	var expected, stored []store.IndexEntry
	if d.Indexed {
		expected = Entries([]Generation{g}, d.Document, doc)
	}
	for _, e := range d.Index {
		if e.Generation == g.Number {
			stored = append(stored, e)
		}
	}
	if len(stored) != len(expected) {
		return true
	}
	for _, e := range expected {
		if !contains(stored, e) {
			return true
		}
	}
	return false
}

func contains(list []store.IndexEntry, e store.IndexEntry) bool {
	for _, s := range list {
		if s.Generation == e.Generation && s.Index == e.Index && bytes.Equal(s.Token, e.Token) {
			return true
		}
	}
	return false
}

// Has reports whether any index holds resources of a type.
func Has(resourceType string) bool {
	for _, x := range all {
		if x.Holds(resourceType) {
			return true
		}
	}
	return false
}

// Found reports whether a document has a token of each list: what the search
// found by the index has to bear it out.
func Found(g Generation, d store.Document, doc []byte, tokens [][][]byte) bool {
	if len(tokens) == 0 {
		return true
	}
	entries := Entries([]Generation{g}, d, doc)
	has := func(any [][]byte) bool {
		for _, e := range entries {
			for _, t := range any {
				if bytes.Equal(e.Token, t) {
					return true
				}
			}
		}
		return false
	}
	for _, any := range tokens {
		if !has(any) {
			return false
		}
	}
	return true
}
