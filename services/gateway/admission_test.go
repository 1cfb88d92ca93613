package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/gateway/rest"
)

var pathVariable = regexp.MustCompile(`\{[a-z_.]+(?:=([^}]+))?\}`)

// pathOf fills a template in with well-formed ids.
func pathOf(template string) string {
	return pathVariable.ReplaceAllStringFunc(template, func(found string) string {
		switch pattern := pathVariable.FindStringSubmatch(found)[1]; {
		case pattern != "":
			return strings.ReplaceAll(pattern, "*", uuid.NewString())
		case found == "{type}":
			return "Observation"
		case found == "{seq}", found == "{version}":
			return "1"
		default:
			return uuid.NewString()
		}
	})
}

// Every RPC with a REST binding is admitted exactly once, for its own service and
// under its own name; one without a session never gets that far.
func TestEveryRouteIsAdmittedOnce(t *testing.T) {
	s := newSuite(t)
	s.backup.create = nil
	routes, err := rest.Routes()
	require.NoError(t, err)
	require.Greater(t, len(routes), 60)
	client := s.client(true)
	for _, route := range routes {
		t.Run(route.RPC, func(t *testing.T) {
			s.t = t
			if strings.HasSuffix(route.RPC, "/CreateBackup") || strings.HasSuffix(route.RPC, "/ImportBundle") {
				s.auth.fail(errs.New(errs.KindDenied, "TEST", "not in this test"))
				defer s.auth.fail(nil)
			}
			body := ""
			if route.Method != http.MethodGet && route.Method != http.MethodDelete {
				body = "{}"
			}
			got := s.do(client, s.request(route.Method, pathOf(route.Template), body, "Content-Disposition", "attachment; filename=x"))
			admits := s.auth.admitted()
			if route.Anonymous {
				require.Empty(t, admits)
				return
			}
			require.Len(t, admits, 1, "%d %s", got.status, got.body)
			require.Equal(t, route.RPC, admits[0].GetMethod())
			require.Equal(t, route.Service, admits[0].GetAudience())
			require.Contains(t, route.RPC, strings.ToLower(strings.TrimPrefix(route.Service.String(), "SERVICE_")))
			require.Equal(t, sessionToken, admits[0].GetSessionToken())
			require.Equal(t, "127.0.0.1", admits[0].GetClient().GetAddress())

			got = s.do(client, s.request(route.Method, pathOf(route.Template), body, "Authorization", ""))
			require.Equal(t, http.StatusUnauthorized, got.status)
			require.Equal(t, "SESSION_MISSING", got.reason(t))
			require.Equal(t, `Bearer realm="carekeep"`, got.header.Get("WWW-Authenticate"))
			require.Empty(t, s.auth.admitted())
		})
	}
}

func TestAdmitLearnsPurposeAgentAndBackground(t *testing.T) {
	s := newSuite(t)
	got := s.call("GET", "/v1/"+somePatient, "", "X-Purpose-Of-Use", "PAYMENT", "X-Background", "true",
		"User-Agent", "Mozilla/5.0 \u202e"+strings.Repeat("é", 600))
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	admits := s.auth.admitted()
	require.Len(t, admits, 1)
	require.Equal(t, accessv1.Purpose_PURPOSE_PAYMENT, admits[0].GetPurpose())
	require.True(t, admits[0].GetBackground())
	require.LessOrEqual(t, len(admits[0].GetClient().GetUserAgent()), 512)
	require.True(t, strings.HasPrefix(admits[0].GetClient().GetUserAgent(), "Mozilla/5.0 éé"))

	for _, headers := range [][]string{
		{"X-Purpose-Of-Use", "CURIOSITY"}, {"X-Purpose-Of-Use", "UNSPECIFIED"}, {"X-Background", "maybe"},
	} {
		require.Equal(t, http.StatusBadRequest, s.call("GET", "/v1/"+somePatient, "", headers...).status, headers)
	}
	require.Empty(t, s.auth.admitted())
}

func TestMalformedBearerIsRefused(t *testing.T) {
	s := newSuite(t)
	for _, value := range []string{"Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer " + strings.Repeat("x", 129), "Bearer ä"} {
		got := s.call("GET", "/v1/self", "", "Authorization", value)
		require.Equal(t, http.StatusUnauthorized, got.status, value)
		require.Equal(t, "SESSION_MALFORMED", got.reason(t), value)
	}
	r := s.request("GET", "/v1/self", "")
	r.Header.Add("Authorization", "Bearer second")
	require.Equal(t, http.StatusUnauthorized, s.do(s.client(true), r).status)
	require.Empty(t, s.auth.admitted())
}

// 61st ⇒ 429: the limit itself is auth's; here its answer must reach the client.
func TestDH33_LimitAnswers429WithRetryAfter(t *testing.T) {
	s := newSuite(t)
	s.auth.fail(errs.New(errs.KindLimited, "RATE_LIMITED", "too many requests").WithRetry(1200 * time.Millisecond))
	for _, path := range []string{"/v1/" + somePatient, "/v1/backups"} {
		got := s.call("GET", path, "")
		require.Equal(t, http.StatusTooManyRequests, got.status)
		require.Equal(t, "2", got.header.Get("Retry-After"))
		require.Equal(t, "RATE_LIMITED", got.reason(t))
	}
}

// Address and user agent are what the gateway sees, whatever the client writes.
func TestSignInAddressIsTheGateways(t *testing.T) {
	s := newSuite(t)
	var got *authv1.SignInRequest
	s.auth.signIn = func(r *authv1.SignInRequest) (*authv1.SignInResponse, error) {
		got = r
		return &authv1.SignInResponse{SessionToken: sessionToken}, nil
	}
	answer := s.call("POST", "/v1/auth:signIn", `{"username":"a","password":"b","client":{"address":"6.6.6.6","userAgent":"forged"}}`,
		"Authorization", "", "User-Agent", "real")
	require.Equal(t, http.StatusOK, answer.status, "%s", answer.body)
	require.Equal(t, "127.0.0.1", got.GetClient().GetAddress())
	require.Equal(t, "real", got.GetClient().GetUserAgent())
}

// A request that says where it comes from says so in a Client, which the gateway sets.
func TestEveryClientFieldIsCompleted(t *testing.T) {
	routes, err := rest.Routes()
	require.NoError(t, err)
	for _, route := range routes {
		for _, field := range []string{"address", "user_agent", "device_token"} {
			if field == "address" && !route.Anonymous {
				continue // of somebody else: the caller's own comes with the session
			}
			require.False(t, requestHas(t, route.RPC, field), "%s has the field %s: use carekeep.auth.v1.Client", route.RPC, field)
		}
	}
}

// A mask that grpc-gateway made of the body names only what a client can change.
func TestUpdateMaskLeavesOutNameAndEtag(t *testing.T) {
	s := newSuite(t)
	var got *recordsv1.UpdatePatientRequest
	s.records.update = func(r *recordsv1.UpdatePatientRequest) { got = r }
	answer := s.call("PATCH", "/v1/"+somePatient, `{"etag":"7","familyName":"Roe"}`)
	require.Equal(t, http.StatusOK, answer.status, "%s", answer.body)
	require.Equal(t, []string{"family_name"}, got.GetUpdateMask().GetPaths())
	require.Equal(t, "7", got.GetPatient().GetEtag())
	require.Equal(t, somePatient, got.GetPatient().GetName())

	answer = s.call("PATCH", "/v1/"+somePatient+"?updateMask=birthDate", `{"etag":"7","birthDate":"1990-01-02"}`)
	require.Equal(t, http.StatusOK, answer.status, "%s", answer.body)
	require.Equal(t, []string{"birth_date"}, got.GetUpdateMask().GetPaths())
}
