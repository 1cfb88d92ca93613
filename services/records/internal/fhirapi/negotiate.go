package fhirapi

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
)

const (
	typeJSON  = "application/json"
	typePatch = "application/json-patch+json"
	typeForm  = "application/x-www-form-urlencoded"
)

var errAccept = errs.New(errs.KindInvalid, outcome.ReasonAccept, "Answers are application/fhir+json of FHIR 4.0, in UTF-8: ask for that in Accept or _format.")

// acceptable checks that the client takes JSON of R4, or what the interaction gives instead. _format goes before Accept (R4 3.1.0.1.11).
func acceptable(h http.Header, query url.Values, gives string) error {
	if format := query.Get("_format"); format != "" {
		// A plus sign that was not escaped comes as a space.
		if slices.Contains([]string{"json", typeJSON, outcome.MediaType}, strings.ReplaceAll(format, " ", "+")) {
			return nil
		}
		return errAccept
	}
	accept := strings.Join(h.Values("Accept"), ",")
	if accept == "" {
		return nil
	}
	for _, part := range strings.Split(accept, ",") {
		kind, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil || parameters["q"] == "0" {
			continue
		}
		version := parameters["fhirversion"]
		if (kind == outcome.MediaType || gives != "" && kind == gives || kind == typeJSON || kind == "application/*" || kind == "*/*") &&
			(version == "" || version == "4.0") && utf8(parameters) {
			return nil
		}
	}
	return errAccept
}

func utf8(parameters map[string]string) bool {
	charset, ok := parameters["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// bodyType refuses bodies of another media type.
func bodyType(h http.Header, takes []string) error {
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	version := parameters["fhirversion"]
	if err != nil || !slices.Contains(takes, kind) || !utf8(parameters) || version != "" && version != "4.0" {
		return errs.New(errs.KindInvalid, outcome.ReasonType, "Set Content-Type to "+strings.Join(takes, " or ")+", in UTF-8.")
	}
	return nil
}

// contentType names the answer as the client asked for it.
func contentType(r *http.Request) string {
	if strings.HasPrefix(r.Header.Get("Accept"), typeJSON) {
		return typeJSON + "; charset=utf-8"
	}
	return outcome.MediaType + "; charset=utf-8; fhirVersion=4.0"
}

// fresh reports whether the client has this version already. If-None-Match goes before
// If-Modified-Since (RFC 9110 13.1.3).
func fresh(h http.Header, a *recordsv1.FhirAnswer) bool {
	if list := h.Values("If-None-Match"); len(list) > 0 {
		for _, tag := range strings.Split(strings.Join(list, ","), ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || "W/"+strings.TrimPrefix(tag, "W/") == Etag(a.GetVersion()) {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(h.Get("If-Modified-Since"))
	// The header has no fractions, so a change within its second counts as one.
	return err == nil && !a.GetUpdateTime().AsTime().After(since)
}

var errIfMatch = errs.New(errs.KindInvalid, "ETAG_INVALID", "If-Match is no ETag of a resource: send the ETag that was read, as it is.").
	WithField("If-Match", `must be like W/"3"`)

// match reads If-Match, 0 where there is none.
func match(h http.Header) (int64, error) {
	list := h.Values("If-Match")
	if len(list) == 0 {
		return 0, nil
	}
	text := strings.TrimPrefix(list[0], "W/")
	digits := strings.Trim(text, `"`)
	version, err := strconv.ParseInt(digits, 10, 64)
	if len(list) > 1 || err != nil || version <= 0 || text != `"`+strconv.FormatInt(version, 10)+`"` {
		return 0, errIfMatch
	}
	return version, nil
}

// preferred is the body that the client prefers (R4 3.1.0.6): the resource unless it says
// otherwise.
func preferred(h http.Header, status int, content []byte) []byte {
	for _, part := range strings.FieldsFunc(strings.Join(h.Values("Prefer"), ","), func(r rune) bool { return r == ',' || r == ';' }) {
		switch strings.TrimSpace(part) {
		case "return=minimal":
			return nil
		case "return=OperationOutcome":
			text := "The resource was stored."
			if status == http.StatusOK && h.Get("If-None-Exist") != "" {
				text = "The resource was there already."
			}
			return outcome.Note("information", "informational", text)
		}
	}
	return content
}
