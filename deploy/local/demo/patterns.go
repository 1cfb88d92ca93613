package demo

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// secret is a plaintext that must lie nowhere outside the sealed documents.
type secret struct {
	what, text string
}

// secrets are plaintexts of the chart: the ones that came in, and the ones that
// dr.smith wrote.
func (c *chart) secrets() []secret {
	p := c.patient
	all := []secret{
		{"social security number", c.ssn},
		{"family name", p.Name[0].Family},
		{"given name", p.Name[0].Given[0]},
		{"birth date", p.BirthDate},
		{"phone number", c.text("Patient", "telecom", "value")},
		{"street", c.street()},
		{"medicine", c.text("MedicationRequest", "medicationCodeableConcept", "text")},
		{"diagnosis", c.text("Condition", "code", "text")},
		{"imported note", c.text("DocumentReference", "content", "attachment", "data")},
		{"note title", noteTitle},
		{"note text", noteText},
		{"reason of a visit", visitWhy},
	}
	for _, identifier := range p.Identifier {
		// Record numbers and the numbers of passport and licence.
		if identifier.System != ssnSystem && identifier.Value != c.id {
			all = append(all, secret{"identifier of " + identifier.System, identifier.Value})
		}
	}
	var distinct []secret
	for _, s := range all {
		// Less than five characters would be found by chance.
		if utf8.RuneCountInString(s.text) >= 5 {
			distinct = append(distinct, s)
		}
	}
	return distinct
}

func (c *chart) street() string {
	if len(c.patient.Address) == 0 || len(c.patient.Address[0].Line) == 0 {
		return ""
	}
	return c.patient.Address[0].Line[0]
}

// pattern is one form in which a secret might lie around.
type pattern struct {
	secret int
	form   string
	bytes  []byte
}

// longest bounds what is searched of a long text: its beginning suffices.
const longest = 48

// patterns gives the forms of each secret: as it is, in lower and upper case, in
// hexadecimal as PostgreSQL prints bytes, and in base64 at each of its three alignments.
func patterns(secrets []secret) []pattern {
	var all []pattern
	for i, s := range secrets {
		text := s.text
		if len(text) > longest {
			text = text[:longest]
		}
		forms := map[string]string{"plain": text, "lower case": strings.ToLower(text), "upper case": strings.ToUpper(text), "hexadecimal": hex.EncodeToString([]byte(text))}
		if len(text) >= 9 { // a shorter piece of base64 occurs by chance
			for shift := range 3 {
				forms["base64 at "+string(rune('0'+shift))] = alignedBase64(text, shift)
			}
		}
		seen := map[string]bool{}
		for form, content := range forms {
			if !seen[content] {
				seen[content] = true
				all = append(all, pattern{i, form, []byte(content)})
			}
		}
	}
	return all
}

// alignedBase64 is the part of the encoding that does not depend on what stands
// before and after the text.
func alignedBase64(text string, shift int) string {
	encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
	from := []int{0, 2, 3}[shift]
	to := (shift + len(text)) / 3 * 4
	return encoded[from:to]
}
