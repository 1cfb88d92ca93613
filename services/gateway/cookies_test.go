package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

const (
	sessionCookie   = "__Host-carekeep-session"
	deviceCookie    = "__Host-carekeep-device"
	deviceToken     = "test-device-token-77aa"
	nameAndPassword = `{"username":"dr.smith","password":"x"}`
)

var errNotNow = errs.New(errs.KindUnavailable, "TEST", "not now")

// cookiesOf returns the cookies that an answer sets, by name.
func cookiesOf(t *testing.T, a answer) map[string]*http.Cookie {
	t.Helper()
	found := map[string]*http.Cookie{}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		require.NotContains(t, found, c.Name)
		require.True(t, c.HttpOnly && c.Secure && c.Path == "/" && c.Domain == "", "%s", c)
		require.Equal(t, http.SameSiteStrictMode, c.SameSite, c.Name)
		found[c.Name] = c
	}
	return found
}

// withDevices makes SignIn give device tokens, and returns what it was last asked.
func (s *suite) withDevices() func() *authv1.SignInRequest {
	var last *authv1.SignInRequest
	s.auth.signIn = func(r *authv1.SignInRequest) (*authv1.SignInResponse, error) {
		last = r
		return &authv1.SignInResponse{SessionToken: sessionToken, DeviceToken: deviceToken, User: "users/1"}, nil
	}
	return func() *authv1.SignInRequest {
		s.auth.mu.Lock()
		defer s.auth.mu.Unlock()
		return last
	}
}

func TestSessionTravelsAsCookieWhereAsked(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	asked := s.withDevices()

	got := s.call("POST", "/v1/auth:signIn", nameAndPassword, "Authorization", "", "X-Session-Transport", "cookie", "Accept-Language", "en-GB")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.JSONEq(t, `{"user":"users/1"}`, string(got.body), "no token is left where a script could read it")
	set := cookiesOf(t, got)
	require.Equal(t, sessionToken, set[sessionCookie].Value)
	require.Zero(t, set[sessionCookie].MaxAge)
	require.Equal(t, deviceToken, set[deviceCookie].Value)
	require.Equal(t, 400*24*3600, set[deviceCookie].MaxAge)
	require.True(t, asked().GetClient().GetCookies())
	require.Equal(t, "en-GB", asked().GetClient().GetAcceptLanguage())

	// From then on the cookies are enough, and a step-up answers by cookie without being asked to.
	both := sessionCookie + "=" + sessionToken + "; " + deviceCookie + "=" + deviceToken
	got = s.call("POST", "/v1/auth:verifyTotp", `{"totpCode":"123456"}`, "Authorization", "", "Cookie", both)
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Equal(t, "raised-"+sessionToken, cookiesOf(t, got)[sessionCookie].Value)
	require.NotContains(t, string(got.body), "Token")
	admits := s.auth.admitted()
	require.Len(t, admits, 1)
	require.Equal(t, sessionToken, admits[0].GetSessionToken())
	require.Equal(t, deviceToken, admits[0].GetClient().GetDeviceToken())
	require.True(t, admits[0].GetClient().GetCookies())
	require.NotContains(t, s.logs.String(), deviceToken)
	require.NotContains(t, s.logs.String(), sessionToken)
}

func TestSessionIsBearerUnlessAsked(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	asked := s.withDevices()
	got := s.call("POST", "/v1/auth:signIn", nameAndPassword, "Authorization", "", "X-Device-Token", "of-the-header")
	require.Contains(t, string(got.body), sessionToken)
	require.Contains(t, string(got.body), deviceToken)
	set := cookiesOf(t, got)
	require.NotContains(t, set, sessionCookie)
	require.Equal(t, deviceToken, set[deviceCookie].Value)
	require.False(t, asked().GetClient().GetCookies())
	require.Equal(t, "of-the-header", asked().GetClient().GetDeviceToken())

	// What a client writes into the body about itself is overwritten.
	s.call("POST", "/v1/auth:signIn", `{"username":"a","password":"b","client":{"deviceToken":"forged","cookies":true,"address":"6.6.6.6"}}`, "Authorization", "")
	require.Empty(t, asked().GetClient().GetDeviceToken())
	require.False(t, asked().GetClient().GetCookies())
	require.Equal(t, "127.0.0.1", asked().GetClient().GetAddress())

	// Anonymous or not, a header with a typing error never falls back to tokens in the body.
	got = s.call("POST", "/v1/auth:signIn", nameAndPassword, "Authorization", "", "X-Session-Transport", "cookies")
	require.Equal(t, "TRANSPORT_UNKNOWN", got.reason(t))
}

func TestTwoSessionsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for name, headers := range map[string][]string{
		"bearer and cookie": {"Cookie", sessionCookie + "=" + sessionToken},
		"two cookies":       {"Authorization", "", "Cookie", sessionCookie + "=a; " + sessionCookie + "=" + sessionToken},
	} {
		got := s.call("GET", "/v1/self", "", headers...)
		require.Equal(t, http.StatusUnauthorized, got.status, name)
		require.Equal(t, "SESSION_AMBIGUOUS", got.reason(t), name)
	}
	got := s.call("GET", "/v1/self", "", "Authorization", "", "Cookie", sessionCookie+"="+strings.Repeat("x", 129))
	require.Equal(t, "SESSION_MALFORMED", got.reason(t))
	got = s.call("GET", "/v1/self", "", "Authorization", "", "Cookie", "carekeep-session="+sessionToken)
	require.Equal(t, "SESSION_MISSING", got.reason(t), "a cookie that a sub-domain could plant is none")
	require.Empty(t, s.auth.admitted())
}

func TestDC20_CrossOriginRequestWithACookieIsRefused(t *testing.T) {
	t.Parallel()
	const listed = "https://app.clinic.example"
	s := newSuite(t, func(c *Settings) { c.AllowedOrigins = []string{listed} })
	cookie := []string{"Authorization", "", "Cookie", sessionCookie + "=" + sessionToken}
	with := func(more ...string) []string { return append(append([]string{}, cookie...), more...) }
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
	}{
		"fetch":                {"POST", "/v1/auth:signOut", "{}", with("Sec-Fetch-Site", "cross-site")},
		"sub-domain":           {"POST", "/v1/auth:signOut", "{}", with("Sec-Fetch-Site", "same-site", "Origin", listed)},
		"listed origin":        {"POST", "/v1/auth:signOut", "{}", with("Sec-Fetch-Site", "cross-site", "Origin", listed)},
		"JSON as text":         {"POST", "/v1/auth:signOut", "{}", with("Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain")},
		"form":                 {"POST", "/v1/auth:signOut", "a=b", with("Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded")},
		"old browser":          {"POST", "/v1/auth:signOut", "{}", with("Origin", "https://evil.example", "Content-Type", "text/plain")},
		"sandboxed frame":      {"POST", "/v1/auth:signOut", "{}", with("Origin", "null", "Content-Type", "text/plain")},
		"no body":              {"POST", "/v1/auth:signOut", "", with("Sec-Fetch-Site", "cross-site")},
		"deletion":             {"DELETE", "/v1/self/sessions/00000000-0000-4000-8000-000000000000", "", with("Sec-Fetch-Site", "cross-site")},
		"reading":              {"GET", "/v1/" + somePatient, "", with("Sec-Fetch-Site", "cross-site")},
		"import":               {"POST", "/v1/patients:import", "{}", with("Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain")},
		"with a bearer too":    {"POST", "/v1/auth:signOut", "{}", []string{"Cookie", sessionCookie + "=x", "Sec-Fetch-Site", "cross-site"}},
		"malformed cookie":     {"POST", "/v1/auth:signOut", "{}", []string{"Authorization", "", "Cookie", sessionCookie + "=", "Sec-Fetch-Site", "cross-site"}},
		"login":                {"POST", "/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"}},
		"login by old browser": {"POST", "/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Origin", "https://evil.example"}},
		"login for a cookie":   {"POST", "/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Origin", listed, "X-Session-Transport", "cookie"}},
		"bearer for a cookie":  {"POST", "/v1/auth:verifyTotp", `{"totpCode":"123456"}`, []string{"Origin", listed, "X-Session-Transport", "cookie"}},
	} {
		got := s.call(c.method, c.path, c.body, c.headers...)
		require.Equal(t, http.StatusForbidden, got.status, "%s: %s", name, got.body)
		require.Equal(t, "CROSS_ORIGIN", got.reason(t), name)
		require.Empty(t, got.header.Values("Set-Cookie"), name)
		require.Empty(t, s.auth.admitted(), name)
	}
}

func TestDC20_OwnPagesAndBearerClientsAreServed(t *testing.T) {
	t.Parallel()
	const listed = "https://app.clinic.example"
	s := newSuite(t, func(c *Settings) { c.AllowedOrigins = []string{listed} })
	cookie := sessionCookie + "=" + sessionToken
	for name, c := range map[string]struct {
		path, body string
		headers    []string
	}{
		"own page":             {"/v1/auth:signOut", "{}", []string{"Authorization", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Origin", s.url}},
		"own page, old":        {"/v1/auth:signOut", "{}", []string{"Authorization", "", "Cookie", cookie, "Origin", s.url}},
		"no browser":           {"/v1/auth:signOut", "{}", []string{"Authorization", "", "Cookie", cookie}},
		"listed, bearer":       {"/v1/auth:signOut", "{}", []string{"Sec-Fetch-Site", "cross-site", "Origin", listed}},
		"listed signs in":      {"/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Sec-Fetch-Site", "cross-site", "Origin", listed}},
		"own page signs in":    {"/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Sec-Fetch-Site", "same-origin", "X-Session-Transport", "cookie"}},
		"own page, device too": {"/v1/auth:signIn", nameAndPassword, []string{"Authorization", "", "Cookie", cookie + "; " + deviceCookie + "=d", "Sec-Fetch-Site", "same-origin"}},
	} {
		got := s.call("POST", c.path, c.body, c.headers...)
		require.Equal(t, http.StatusOK, got.status, "%s: %s", name, got.body)
	}
	// Of the own origin too, only JSON goes with a cookie, with a body or without.
	for _, body := range []string{"", "{}"} {
		got := s.call("POST", "/v1/auth:signOut", body, "Authorization", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Content-Type", "text/plain")
		require.Equal(t, http.StatusUnsupportedMediaType, got.status)
	}
}

func TestDC28_SignOutClearsTheBrowser(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	cookie := sessionCookie + "=" + sessionToken + "; " + deviceCookie + "=" + deviceToken
	for name, headers := range map[string][]string{"cookie": {"Authorization", "", "Cookie", cookie}, "bearer": nil} {
		got := s.call("POST", "/v1/auth:signOut", "{}", headers...)
		require.Equal(t, http.StatusOK, got.status, "%s: %s", name, got.body)
		require.Equal(t, []string{`"cache", "storage"`}, got.header.Values("Clear-Site-Data"), name)
		set := cookiesOf(t, got)
		require.Equal(t, "", set[sessionCookie].Value, name)
		require.Negative(t, set[sessionCookie].MaxAge, name)
		require.NotContains(t, set, deviceCookie, "a device is known beyond a session")
		require.Len(t, s.auth.admitted(), 1, "auth ends the session")
	}
	s.auth.fail(errNotNow)
	got := s.call("POST", "/v1/auth:signOut", "{}", "Authorization", "", "Cookie", cookie)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Empty(t, got.header.Values("Clear-Site-Data"), "a session that still lives does not look ended")
	require.Empty(t, got.header.Values("Set-Cookie"))
}
