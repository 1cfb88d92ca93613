package fhir

import (
	"github.com/tidwall/gjson"

	"github.com/carekeep/carekeep/libs/envelope"
)

// Term is one value by which a patient can be found.
type Term struct {
	Kind  string // of envelope's closed set
	Parts []string
}

// maxTerms bounds the index entries of one patient, so that one document
// cannot flood the index.
const maxTerms = 64

// Terms returns what the blind index holds of a Patient document: identifiers by system
// and value, phone numbers, and each name (family and first given) with a
// full birth date.
func Terms(doc []byte) []Term {
	var out []Term
	root := gjson.ParseBytes(doc)
	each(root.Get("identifier"), func(r gjson.Result) {
		if system, value := r.Get("system").String(), r.Get("value").String(); system != "" && value != "" {
			out = append(out, Term{envelope.KindIdentifier, []string{system, value}})
		}
	})
	each(root.Get("telecom"), func(r gjson.Result) {
		if system := r.Get("system").Str; system == "phone" || system == "sms" {
			out = append(out, Term{envelope.KindPhone, []string{r.Get("value").String()}})
		}
	})
	if birth := root.Get("birthDate").String(); birth != "" {
		each(root.Get("name"), func(r gjson.Result) {
			family, given := r.Get("family").String(), r.Get("given.0").String()
			if family != "" && given != "" {
				out = append(out, Term{envelope.KindNameBirthDate, []string{family, given, birth}})
			}
		})
	}
	return out[:min(len(out), maxTerms)]
}

func each(list gjson.Result, visit func(gjson.Result)) {
	if list.IsArray() {
		list.ForEach(func(_, r gjson.Result) bool {
			visit(r)
			return true
		})
	}
}
