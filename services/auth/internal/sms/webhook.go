package sms

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the provider's signature is HMAC-SHA1, which no collision of SHA-1 weakens
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Reply is a message that came in.
type Reply struct {
	// SID is the provider's id of the message; a repeated delivery has the same.
	SID  string
	From string
	// To is the number that was written to.
	To   string
	Body string
	// OptOut is the provider's own reading of the message as a wish to stop.
	OptOut bool
}

// Limits of a form.
const (
	maxForm   = 64 << 10
	maxFields = 200
	maxRunes  = 1600 // of a body, as the provider sends
)

var (
	errForm      = errors.New("sms: the form is malformed")
	errSignature = errors.New("sms: the signature is wrong")
	sid          = regexp.MustCompile(`^(SM|MM)[0-9a-f]{32}$`)
	anyNumber    = regexp.MustCompile(`^\+?[0-9]{3,15}$`)
)

// Signed checks the provider's signature over the address it called and every field
// of the form, in constant time, and only then reads the form.
func (c Config) Signed(form []byte, signature string) (Reply, error) {
	fields, err := parseForm(form)
	if err != nil {
		return Reply{}, err
	}
	said, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || !hmac.Equal(said, sign(c.Token.Value(), c.Webhook, fields)) {
		return Reply{}, errSignature
	}
	if fields["AccountSid"] != c.Account {
		return Reply{}, errForm
	}
	return readReply(fields)
}

// Sign makes the signature that the provider sends with a form.
func Sign(token, address string, fields map[string]string) string {
	return base64.StdEncoding.EncodeToString(sign(token, address, fields))
}

func sign(token, address string, fields map[string]string) []byte {
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(address))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		mac.Write([]byte(name + fields[name]))
	}
	return mac.Sum(nil)
}

// parseForm refuses a field that stands twice: signature and reading must be of one value.
func parseForm(form []byte) (map[string]string, error) {
	if len(form) > maxForm || strings.Count(string(form), "&") >= maxFields {
		return nil, errForm
	}
	values, err := url.ParseQuery(string(form))
	if err != nil {
		return nil, errForm
	}
	fields := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) != 1 {
			return nil, errForm
		}
		fields[name] = list[0]
	}
	return fields, nil
}

func readReply(fields map[string]string) (Reply, error) {
	r := Reply{
		SID: fields["MessageSid"], From: fields["From"], To: fields["To"],
		Body: strings.ReplaceAll(strings.ToValidUTF8(fields["Body"], "\ufffd"), "\x00", "\ufffd"), OptOut: fields["OptOutType"] == "STOP",
	}
	if !sid.MatchString(r.SID) || !anyNumber.MatchString(r.From) || !anyNumber.MatchString(r.To) {
		return Reply{}, errForm
	}
	if number, err := Number(r.From); err == nil {
		r.From = number
	}
	if utf8.RuneCountInString(r.Body) > maxRunes {
		r.Body = string([]rune(r.Body)[:maxRunes])
	}
	return r, nil
}

// Means is what the reply asks for.
func (r Reply) Means() Meaning {
	if r.OptOut {
		return MeaningStop
	}
	return Classify(r.Body)
}
