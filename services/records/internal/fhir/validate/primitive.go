package validate

import (
	"bytes"
	"encoding/base64"
	"html"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

// primitive is a data type that JSON writes as one string, number or boolean.
type primitive struct {
	kind  strictjson.Kind
	shape string // what the JSON must be
	form  string // what the value must be
	valid func([]byte) bool
}

func inString(form string, valid func([]byte) bool) *primitive {
	return &primitive{strictjson.Text, "a string", form, valid}
}

func inNumber(form string, valid func([]byte) bool) *primitive {
	return &primitive{strictjson.Number, "a number", form, valid}
}

// primitives are R4's primitive types (2.24.0.1). Where R4's text is narrower than its
// schema, the text decides: no empty strings, no control characters, integers of
// 32 bits, days that exist.
var primitives = map[string]*primitive{
	"string":       inString("text that is not empty and has no control characters", text),
	"markdown":     inString("text that is not empty and has no control characters", text),
	"xhtml":        inString("XHTML that is not empty and has no control characters", text),
	"code":         inString("a code: words with single spaces between them", code),
	"uri":          inString("a URI, without white space", uri),
	"url":          inString("a URL, without white space", uri),
	"canonical":    inString("a canonical URL, without white space", uri),
	"oid":          inString("an OID of the form urn:oid:1.2.3", oid.Match),
	"uuid":         inString("a UUID of the form urn:uuid:… in lower case", urn.Match),
	"id":           inString("1 to 64 letters, digits, hyphens and points", func(b []byte) bool { return fhir.ValidID(string(b)) }),
	"base64Binary": inString("base64 with padding", inBase64),
	"date":         inString("a day that exists, as YYYY, YYYY-MM or YYYY-MM-DD", date),
	"dateTime":     inString("a time as YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a zone", dateTime),
	"instant":      inString("a time as YYYY-MM-DDThh:mm:ss with a zone", instant),
	"time":         inString("a time of day as hh:mm:ss", timeOfDay.Match),
	"boolean":      {strictjson.Bool, "true or false", "true or false", func([]byte) bool { return true }},
	"decimal":      inNumber("a number", func([]byte) bool { return true }),
	"integer":      inNumber("a whole number of 32 bits", integer(-1<<31)),
	"unsignedInt":  inNumber("a whole number from 0 to 2147483647", integer(0)),
	"positiveInt":  inNumber("a whole number from 1 to 2147483647", integer(1)),
}

var (
	oid       = regexp.MustCompile(`^urn:oid:[0-2](\.(0|[1-9][0-9]*))+$`)
	urn       = regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	timeOfDay = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?$`)
	// moment is what follows a day: the time, and the zone.
	moment = regexp.MustCompile(`^T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))$`)
)

func text(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return len(b) > 0
}

func white(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func uri(b []byte) bool {
	return text(b) && bytes.IndexFunc(b, func(c rune) bool { return c < utf8.RuneSelf && white(byte(c)) }) < 0
}

func code(b []byte) bool {
	for i, c := range b {
		if white(c) && (i == 0 || i == len(b)-1 || white(b[i-1])) {
			return false
		}
	}
	return text(b)
}

// day reads a date from the front. rest follows it; full is true where it has a day.
func day(b []byte) (rest []byte, full, ok bool) {
	number := func(at, n int) (int, bool) {
		if len(b) < at+n {
			return 0, false
		}
		v := 0
		for _, c := range b[at : at+n] {
			if c < '0' || c > '9' {
				return 0, false
			}
			v = 10*v + int(c-'0')
		}
		return v, true
	}
	year, ok := number(0, 4)
	if !ok || year == 0 {
		return nil, false, false
	}
	if len(b) == 4 {
		return nil, false, true
	}
	month, ok := number(5, 2)
	if !ok || b[4] != '-' || month < 1 || month > 12 {
		return nil, false, false
	}
	if len(b) == 7 {
		return nil, false, true
	}
	d, ok := number(8, 2)
	last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	if !ok || b[7] != '-' || d < 1 || d > last {
		return nil, false, false
	}
	return b[10:], true, true
}

func date(b []byte) bool {
	rest, _, ok := day(b)
	return ok && len(rest) == 0
}

func dateTime(b []byte) bool {
	rest, full, ok := day(b)
	return ok && (len(rest) == 0 || full && moment.Match(rest))
}

func instant(b []byte) bool {
	rest, full, ok := day(b)
	return ok && full && moment.Match(rest)
}

func integer(least int64) func([]byte) bool {
	return func(b []byte) bool {
		v, err := strconv.ParseInt(string(b), 10, 32)
		return err == nil && v >= least && string(b) != "-0"
	}
}

func inBase64(b []byte) bool {
	_, err := decodeBase64(b)
	return err == nil && len(b) > 0
}

// decodeBase64 reads base64, between whose characters R4 allows white space.
func decodeBase64(b []byte) ([]byte, error) {
	b = bytes.Map(func(c rune) rune {
		if c == ' ' || c == '\t' {
			return -1
		}
		return c
	}, b)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Decode(out, b)
	return out[:n], err
}

var tags = regexp.MustCompile(`<[^>]*>`)

// plain is the text of XHTML, as a reader sees it.
func plain(xhtml []byte) string { return html.UnescapeString(tags.ReplaceAllString(string(xhtml), "")) }
