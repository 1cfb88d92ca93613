package rest

import (
	"context"
	"net/http"
	"strings"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// maxToken is what auth takes as a session token, in bytes.
const maxToken = 128

// session is what a request says of itself; auth decides what it is worth.
type session struct {
	token      string
	purpose    accessv1.Purpose
	background bool
	// device is the device token, cookies whether the session travels as a cookie, now or in the answer.
	device  string
	cookies bool
	// foreign and unlisted say which origins the page that sends the request is not of.
	foreign, unlisted bool
	// err is why the headers cannot be used; misled why they cannot be used even
	// where no session is needed.
	err, misled error
}

type sessionKey struct{}

func sessionOf(ctx context.Context) session {
	s, _ := ctx.Value(sessionKey{}).(session)
	return s
}

var (
	errNoSession = errs.New(errs.KindUnauthenticated, "SESSION_MISSING",
		"sign in and send the session token as `Authorization: Bearer` or as the session cookie")
	errMalformedSession = errs.New(errs.KindUnauthenticated, "SESSION_MALFORMED",
		"send one header `Authorization: Bearer` with the session token as it was given")
	errPurpose = errs.New(errs.KindInvalid, "PURPOSE_UNKNOWN",
		"X-Purpose-Of-Use must be TREATMENT, PAYMENT, OPERATIONS or INDIVIDUAL")
	errBackground = errs.New(errs.KindInvalid, "BACKGROUND_MALFORMED", "X-Background must be true or false")
)

// take reads the session out of the headers and cookies and leaves only what the API itself
// needs. Whatever else a client sends ends here, above all Grpc-Metadata-*,
// Grpc-Timeout, cookies and X-Forwarded-* (ASVS 4.1.3): grpc-gateway has ways to turn
// headers into metadata, and nothing may trust metadata from outside.
func (a *API) take(r *http.Request) *http.Request {
	s := readSession(r)
	s.foreign, s.unlisted = a.origins.foreign(r)
	out := r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
	out.Header = http.Header{}
	for _, name := range []string{"Content-Type", "Expect", signatureHeader, dispositionHeader, digestHeader, lastEventHeader} {
		if values := r.Header.Values(name); len(values) > 0 {
			out.Header[name] = values
		}
	}
	out.Trailer = nil
	return out
}

func readSession(r *http.Request) session {
	var s session
	h := r.Header
	asked, err := transport(h)
	if err != nil {
		return session{misled: err, err: err}
	}
	carried := len(r.CookiesNamed(sessionCookie)) > 0
	s.cookies = carried || asked
	s.device = deviceToken(r, s.cookies)
	if s.token, s.err = token(r); s.err != nil {
		return s
	}
	if text := h.Get("X-Purpose-Of-Use"); text != "" {
		number := accessv1.Purpose_value["PURPOSE_"+text]
		if number == 0 {
			s.err = errPurpose
			return s
		}
		s.purpose = accessv1.Purpose(number)
	}
	switch h.Get("X-Background") {
	case "", "false":
	case "true":
		s.background = true
	default:
		s.err = errBackground
	}
	return s
}

// token returns the session token, wherever it stands. Two are refused: which of
// them counts is not for the gateway to guess.
func token(r *http.Request) (string, error) {
	header, err := bearer(r.Header.Values("Authorization"))
	if err != nil {
		return "", err
	}
	cookie, err := cookieToken(r)
	if err != nil {
		return "", err
	}
	if header != "" && cookie != "" {
		return "", errTwice
	}
	return header + cookie, nil
}

// bearer returns the token, "" where there is none.
func bearer(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || !visible(token, maxToken) {
		return "", errMalformedSession
	}
	return token, nil
}

// visible says whether text can be a token: visible ASCII (RFC 6750), within the limit.
func visible(text string, limit int) bool {
	if text == "" || len(text) > limit {
		return false
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
