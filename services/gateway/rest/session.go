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
	// err is why the headers cannot be used.
	err error
}

type sessionKey struct{}

func sessionOf(ctx context.Context) session {
	s, _ := ctx.Value(sessionKey{}).(session)
	return s
}

var (
	errNoSession = errs.New(errs.KindUnauthenticated, "SESSION_MISSING",
		"sign in and send the session token as `Authorization: Bearer`")
	errMalformedSession = errs.New(errs.KindUnauthenticated, "SESSION_MALFORMED",
		"send one header `Authorization: Bearer` with the session token as it was given")
	errPurpose = errs.New(errs.KindInvalid, "PURPOSE_UNKNOWN",
		"X-Purpose-Of-Use must be TREATMENT, PAYMENT, OPERATIONS or INDIVIDUAL")
	errBackground = errs.New(errs.KindInvalid, "BACKGROUND_MALFORMED", "X-Background must be true or false")
)

// take reads the session out of the headers and leaves only what the API itself
// needs. Whatever else a client sends ends here, above all Grpc-Metadata-*,
// Grpc-Timeout, cookies and X-Forwarded-* (ASVS 4.1.3): grpc-gateway has ways to turn
// headers into metadata, and nothing may trust metadata from outside.
func take(r *http.Request) *http.Request {
	s := readSession(r.Header)
	out := r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
	out.Header = http.Header{}
	for _, name := range []string{"Content-Type", "Expect"} {
		if values := r.Header.Values(name); len(values) > 0 {
			out.Header[name] = values
		}
	}
	out.Trailer = nil
	return out
}

func readSession(h http.Header) session {
	var s session
	s.token, s.err = bearer(h.Values("Authorization"))
	if s.err != nil {
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

// bearer returns the token, "" where there is none.
func bearer(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", errMalformedSession
	}
	for _, c := range []byte(token) {
		// RFC 6750: a bearer token is visible ASCII.
		if c <= ' ' || c > '~' {
			return "", errMalformedSession
		}
	}
	return token, nil
}
