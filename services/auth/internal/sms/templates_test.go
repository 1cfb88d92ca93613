package sms_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/auth/internal/sms"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// allowed is every placeholder that a message may have. None of them is of a patient:
// a name, a date, a doctor, a reason is not among them and fails the linter.
var allowed = map[string]bool{"brand": true, "contact": true, "hours": true, "code": true}

var placeholder = regexp.MustCompile(`\{([^}]*)\}`)

// lint says what is wrong with a template.
func lint(t *testing.T, name string, template sms.Template) []string {
	t.Helper()
	var found []string
	say := func(bad bool, what string) {
		if bad {
			found = append(found, name+": "+what)
		}
	}
	say(!strings.HasPrefix(template.Text, "{brand}: "), "does not begin with its sender")
	say(!strings.Contains(template.Text, "{contact}"), "has no contact")
	say(!strings.HasSuffix(template.Text, "Reply STOP to opt out.") && name != sms.TemplateStopped, "does not say how to opt out")
	say(regexp.MustCompile(`(?i)https?:|www\.|://|\.(com|org)\b`).MatchString(template.Text), "has a link")
	say(regexp.MustCompile(`(?i)bill|pay|invoice|offer|sale|discount|free|visit us|buy`).MatchString(template.Text), "speaks of money or sells something")
	say(template.Category < store.CategoryAnswer || template.Category > store.CategoryCodes, "has no category")
	named := map[string]bool{}
	params := map[string]string{}
	for _, m := range placeholder.FindAllStringSubmatch(template.Text, -1) {
		named[m[1]] = true
		say(!allowed[m[1]], "has a placeholder that is not allowed: "+m[1])
		_, known := template.Params[m[1]]
		say(!known && m[1] != "brand" && m[1] != "contact", "has a placeholder without a form: "+m[1])
	}
	for param, form := range template.Params {
		say(!named[param], "does not use "+param)
		say(len(form.Longest) != form.Max || !form.Form.MatchString(form.Longest), "the longest "+param+" is not its longest")
		params[param] = form.Longest
	}
	text, err := template.Compose(strings.Repeat("W", sms.MaxBrand), strings.Repeat("5", sms.MaxContact), params)
	say(err != nil, "does not fit into 160 characters at its longest")
	n := sms.Septets(text)
	say(err == nil && (n < 1 || n > 160), "is longer than 160 characters")
	return found
}

func TestDMD30_EveryTemplateNamesItsSenderAndHowToOptOut(t *testing.T) {
	t.Parallel()
	for name, template := range sms.Templates {
		require.Empty(t, lint(t, name, template))
	}
	require.Equal(t, 160, sms.MaxSeptets)
	require.NotEmpty(t, sms.PatientTemplates())
	for _, name := range sms.PatientTemplates() {
		require.Contains(t, []store.Category{store.CategoryAppointments, store.CategoryCare}, sms.Templates[name].Category)
	}
}

func TestDMD30_TheLinterFindsWhatItIsFor(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"does not begin with its sender": "Hello from {brand}. Call {contact}. Reply STOP to opt out.",
		"has no contact":                 "{brand}: hello. Reply STOP to opt out.",
		"how to opt out":                 "{brand}: hello, call {contact}.",
		"not allowed: patient":           "{brand}: hello {patient}, call {contact}. Reply STOP to opt out.",
		"has a link":                     "{brand}: see https://x.test/{token}, call {contact}. Reply STOP to opt out.",
		"money":                          "{brand}: your bill is due, call {contact}. Reply STOP to opt out.",
		"fit into 160":                   "{brand}: " + strings.Repeat("x", 120) + " {contact}. Reply STOP to opt out.",
	} {
		require.Contains(t, strings.Join(lint(t, "BAD", sms.Template{Text: text, Category: store.CategoryCare}), "; "), want)
	}
}

func TestDMD30_ParametersHaveNoRoomForAnythingElse(t *testing.T) {
	t.Parallel()
	template := sms.Templates["CALL_BACK"]
	for _, hours := range []string{"8-17", "9am-4pm", "9:30 am - 4:45 pm"} {
		text, err := template.Compose("Care Example", "202-555-0101", map[string]string{"hours": hours})
		require.NoError(t, err)
		require.Contains(t, text, hours)
	}
	for _, hours := range []string{"", "John Doe", "8-17 HIV test", "8-17\n", "{contact}", "https://x.test", strings.Repeat("1", 30)} {
		_, err := template.Compose("Care Example", "202-555-0101", map[string]string{"hours": hours})
		require.ErrorIs(t, err, sms.ErrParams, hours)
	}
	for _, params := range []map[string]string{nil, {"name": "John"}, {"hours": "8-17", "name": "John"}} {
		_, err := template.Compose("Care Example", "202-555-0101", params)
		require.ErrorIs(t, err, sms.ErrParams)
	}
	require.Equal(t, 10, sms.Septets("[€]1234"), "what is outside the basic alphabet takes two places")
	require.Equal(t, -1, sms.Septets("✚"))
}
