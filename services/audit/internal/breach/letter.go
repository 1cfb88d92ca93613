package breach

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// letter is what every patient is written, in plain language (45 CFR 164.404(c)). The practice addresses it:
// this service has nobody's name.
var letter = template.Must(template.New("letter").Option("missingkey=error").Parse(`{{.Practice}}

NOTICE OF A BREACH OF YOUR HEALTH INFORMATION

What happened
{{.WhatHappened}}
It happened on {{.Occurred}}, as far as we know. We discovered it on {{.Discovered}}.

What information was involved
{{.Kinds}}

What you can do
{{.Protect}}

What we are doing
{{.Measures}}

How to reach us
{{.Contact}}
`))

// complete refuses a letter that lacks one of the five elements, and names all that it lacks.
func complete(e *auditv1.LetterElements) error {
	refusal := errs.New(errs.KindInvalid, "LETTER_INCOMPLETE", "45 CFR 164.404(c) requires all five elements")
	missing := false
	for _, part := range []struct{ field, text, what string }{
		{"what_happened", e.GetWhatHappened(), "(A) say what happened"},
		{"kinds_of_data", e.GetKindsOfData(), "(B) say which kinds of data were involved"},
		{"protective_steps", e.GetProtectiveSteps(), "(C) say what people should do to protect themselves"},
		{"measures", e.GetMeasures(), "(D) say what is done to investigate, to mitigate, and against another one"},
		{"contact", e.GetContact(), "(E) give a toll-free number, an e-mail address, a web site or a postal address"},
	} {
		if strings.TrimSpace(part.text) == "" {
			refusal, missing = refusal.WithField("elements."+part.field, part.what), true
		}
	}
	if missing {
		return refusal
	}
	return nil
}

// render writes the letter of a practice.
func (b *Breach) render(practice string, e *auditv1.LetterElements) (string, error) {
	if err := complete(e); err != nil {
		return "", err
	}
	var out strings.Builder
	err := letter.Execute(&out, map[string]string{
		"Practice": practice, "WhatHappened": e.GetWhatHappened(), "Occurred": b.Occurred, "Discovered": b.Discovery.String(),
		"Kinds": e.GetKindsOfData(), "Protect": e.GetProtectiveSteps(), "Measures": e.GetMeasures(), "Contact": e.GetContact(),
	})
	if err != nil {
		return "", fmt.Errorf("render letter: %w", err)
	}
	return out.String(), nil
}

// written is what is sealed of a letter.
func written(e *auditv1.LetterElements) (string, error) {
	raw, err := json.Marshal(map[string]string{
		"what_happened": e.GetWhatHappened(), "kinds_of_data": e.GetKindsOfData(), "protective_steps": e.GetProtectiveSteps(),
		"measures": e.GetMeasures(), "contact": e.GetContact(),
	})
	return string(raw), err
}

// elements reads what was sealed.
func elements(text string) (*auditv1.LetterElements, error) {
	var m map[string]string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("read letter: %w", err)
	}
	return &auditv1.LetterElements{
		WhatHappened: m["what_happened"], KindsOfData: m["kinds_of_data"], ProtectiveSteps: m["protective_steps"], Measures: m["measures"], Contact: m["contact"],
	}, nil
}
