package sms

import (
	"regexp"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/carekeep/carekeep/libs/errs"
)

// maxNumber bounds what is parsed: no way to write a telephone number is longer.
const maxNumber = 40

var written = regexp.MustCompile(`^\+[0-9 ().-]+$`)

var errNumber = errs.New(errs.KindInvalid, "NUMBER_INVALID",
	"the telephone number must be one that takes text messages, with its country code, such as +12025550123")

// Number is a telephone number in the form of E.164. What costs its caller extra is
// refused: sending to it is how fraud makes money.
func Number(text string) (string, error) {
	text = strings.TrimSpace(text)
	// The library would take letters as on a keypad, and digits of other scripts.
	if len(text) > maxNumber || !written.MatchString(text) {
		return "", errNumber
	}
	parsed, err := phonenumbers.Parse(text, phonenumbers.UNKNOWN_REGION)
	if err != nil || !phonenumbers.IsValidNumber(parsed) || parsed.GetExtension() != "" {
		return "", errNumber
	}
	switch phonenumbers.GetNumberType(parsed) {
	case phonenumbers.PREMIUM_RATE, phonenumbers.SHARED_COST, phonenumbers.UAN, phonenumbers.VOICEMAIL:
		return "", errNumber
	}
	return phonenumbers.Format(parsed, phonenumbers.E164), nil
}
