package sms

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Template is one text that may be sent. Nothing else is: there is no free text.
type Template struct {
	// Category is what the recipient must have agreed to.
	Category store.Category
	// Text holds {brand} and {contact}, which the campaign gives, and the parameters.
	Text string
	// Params are the forms of the values that the sender may put in, whole and at
	// their longest no more than the linter counts. None can say anything of a patient.
	Params map[string]Param
}

// Param is a value that may be put in.
type Param struct {
	Form *regexp.Regexp
	// Max is the length of a value at most, Longest one of that length.
	Max     int
	Longest string
}

// The names of templates that carekeep uses by itself.
const (
	TemplateCode    = "SIGN_IN_CODE"
	TemplateStopped = "STOP_CONFIRMATION"
	TemplateHelp    = "HELP"
)

// hours says when to call back, as "8-17" or "9:30am - 4pm".
var hours = Param{Form: regexp.MustCompile(`^[0-9]{1,2}(:[0-9]{2})?( ?[ap]m)? ?- ?[0-9]{1,2}(:[0-9]{2})?( ?[ap]m)?$`), Max: 19, Longest: "10:30 am - 12:30 pm"}

// Templates is every text message there is. Each one names its sender and how to
// make it stop (claim DMD-30); none has room for patient data: not for a name, not
// for the time of an appointment, not for a link.
var Templates = map[string]Template{
	"APPOINTMENT_REMINDER": {
		Category: store.CategoryAppointments,
		Text:     "{brand}: a reminder of your visit. To hear the time or change it, call {contact}. Reply STOP to opt out.",
	},
	"APPOINTMENT_CALL": {
		Category: store.CategoryAppointments,
		Text:     "{brand}: please call {contact} about your visit, {hours}. Reply STOP to opt out.",
		Params:   map[string]Param{"hours": hours},
	},
	"CALL_BACK": {
		Category: store.CategoryCare,
		Text:     "{brand}: please call us at {contact}, {hours}. Reply STOP to opt out.",
		Params:   map[string]Param{"hours": hours},
	},
	"ACCOUNT_MESSAGE": {
		Category: store.CategoryCare,
		Text:     "{brand}: there is a message in your account. Questions? Call {contact}. Reply STOP to opt out.",
	},
	TemplateCode: {
		Category: store.CategoryCodes,
		Text:     "{brand}: your code is {code}. Nobody from us will ever ask for it. Help: {contact}. Reply STOP to opt out.",
		Params:   map[string]Param{"code": {Form: regexp.MustCompile(`^[0-9]{6,8}$`), Max: 8, Longest: "88888888"}},
	},
	TemplateStopped: {
		Category: store.CategoryAnswer,
		Text:     "{brand}: you have opted out. We will send no more texts to this number. Questions? Call {contact}.",
	},
	TemplateHelp: {
		Category: store.CategoryAnswer,
		Text:     "{brand}: for help call {contact}. Msg & data rates may apply. Reply STOP to opt out.",
	},
}

// Patient reports whether a sender may ask for the template; the others are carekeep's own.
func (t Template) Patient() bool {
	return t.Category == store.CategoryAppointments || t.Category == store.CategoryCare
}

// PatientTemplates names the templates for patients, in order.
func PatientTemplates() []string {
	var names []string
	for name, t := range Templates {
		if t.Patient() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ErrParams is the answer to parameters that a template does not have or in another form.
var ErrParams = errors.New("the template takes other parameters, or in another form")

// Compose writes a message. Every parameter must be there, and no other.
func (t Template) Compose(brand, contact string, params map[string]string) (string, error) {
	if len(params) != len(t.Params) {
		return "", ErrParams
	}
	pairs := []string{"{brand}", brand, "{contact}", contact}
	for name, param := range t.Params {
		value, ok := params[name]
		if !ok || len(value) > param.Max || !param.Form.MatchString(value) {
			return "", ErrParams
		}
		pairs = append(pairs, "{"+name+"}", value)
	}
	text := strings.NewReplacer(pairs...).Replace(t.Text)
	if n := Septets(text); n < 0 || n > MaxSeptets {
		return "", errors.New("the text does not fit into one message")
	}
	return text, nil
}
