package rest

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// The cookies that the gateway sets. Browsers take a __Host- cookie only from the
// host itself, over TLS, for every path and for no other host (ASVS 3.3.3): no
// neighbour on a sub-domain can plant one.
const (
	sessionCookie = "__Host-carekeep-session"
	deviceCookie  = "__Host-carekeep-device"
	// deviceLife is the longest that browsers keep any cookie.
	deviceLife = 400 * 24 * time.Hour
)

const (
	transportHeader = "X-Session-Transport"
	deviceHeader    = "X-Device-Token"
	// maxDevice is what auth takes as a device token, in bytes.
	maxDevice = 256
)

// cleared is what a browser drops at sign-out. It names no cookies: that would drop
// the device too, and every user who signs out would be a stranger at the next
// sign-in. The session cookie is ended by itself.
const cleared = `"cache", "storage"`

var (
	errTransport = errs.New(errs.KindInvalid, "TRANSPORT_UNKNOWN", "X-Session-Transport must be bearer or cookie")
	errTwice     = errs.New(errs.KindUnauthenticated, "SESSION_AMBIGUOUS",
		"the request carries two session tokens; send either `Authorization: Bearer` or one session cookie")
)

// transport says whether the client asks for its session as a cookie.
func transport(h http.Header) (cookie bool, err error) {
	switch h.Get(transportHeader) {
	case "", "bearer":
		return false, nil
	case "cookie":
		return true, nil
	}
	return false, errTransport
}

// cookieToken returns the session token among the cookies, "" where there is none.
func cookieToken(r *http.Request) (string, error) {
	found := r.CookiesNamed(sessionCookie)
	if len(found) == 0 {
		return "", nil
	}
	if len(found) > 1 {
		return "", errTwice
	}
	if !visible(found[0].Value, maxToken) {
		return "", errMalformedSession
	}
	return found[0].Value, nil
}

// deviceToken returns what names the device. A client of bearer tokens may be a
// browser, which sends the cookie by itself, so for it the header goes first. A
// token that cannot be one names no device, which costs a second factor and no more.
func deviceToken(r *http.Request, cookies bool) string {
	if header := r.Header.Get(deviceHeader); header != "" && !cookies {
		if visible(header, maxDevice) {
			return header
		}
		return ""
	}
	if found := r.CookiesNamed(deviceCookie); len(found) == 1 && visible(found[0].Value, maxDevice) {
		return found[0].Value
	}
	return ""
}

// setCookies turns the tokens in an answer into cookies: the device's always, the
// session's where the client has its session so. What is a cookie is taken out of
// the body, where a script could read it.
func setCookies(ctx context.Context, w http.ResponseWriter, message proto.Message) error {
	s := sessionOf(ctx)
	if _, ok := message.(*authv1.SignOutResponse); ok {
		w.Header().Set("Clear-Site-Data", cleared)
		http.SetCookie(w, cookie(sessionCookie, "", -1))
		return nil
	}
	for _, opened := range signedIn(message) {
		if opened.GetDeviceToken() != "" {
			http.SetCookie(w, cookie(deviceCookie, opened.GetDeviceToken(), int(deviceLife.Seconds())))
		}
		if !s.cookies || opened.GetSessionToken() == "" {
			continue
		}
		// No life of its own: auth ends it, and the browser when it closes.
		http.SetCookie(w, cookie(sessionCookie, opened.GetSessionToken(), 0))
		opened.SessionToken, opened.DeviceToken = "", ""
	}
	return nil
}

func cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, MaxAge: maxAge, Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// signedIn finds the sessions that an answer opens: it is one, or holds one in a field.
func signedIn(message proto.Message) []*authv1.SignInResponse {
	if opened, ok := message.(*authv1.SignInResponse); ok {
		return []*authv1.SignInResponse{opened}
	}
	if message == nil { // grpc-gateway's way to announce a stream
		return nil
	}
	var found []*authv1.SignInResponse
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() != nil && field.Cardinality() != protoreflect.Repeated {
			if opened, ok := value.Message().Interface().(*authv1.SignInResponse); ok {
				found = append(found, opened)
			}
		}
		return true
	})
	return found
}
