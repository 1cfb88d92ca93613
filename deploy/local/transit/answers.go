package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// login is auth/cert: the certificate is the identity, and a role that is asked
// for must be that identity. An identity without a policy gets no token.
func (s *server) login(identity string, op logical.Operation, data map[string]any, rec *record) (int, []byte) {
	role, given := data["name"]
	_, known := s.policies[identity]
	if op != logical.UpdateOperation || !known || given && role != identity {
		return deny(rec, http.StatusBadRequest, "invalid certificate or no client certificate supplied")
	}
	token, l := s.tokens.create(identity)
	return s.authenticated(token, l)
}

// self answers for the caller's own token.
func (s *server) self(path, token string, l login) (int, []byte) {
	switch path {
	case "auth/token/lookup-self":
		return http.StatusOK, body(&logical.HTTPResponse{Data: map[string]any{
			"accessor": l.accessor, "display_name": "cert-" + l.identity, "policies": []string{"default", l.identity},
			"creation_time": l.created.Unix(), "expire_time": l.expires.UTC().Format(time.RFC3339),
			"ttl": int(l.expires.Sub(s.now()).Seconds()), "renewable": true, "type": "service",
		}})
	case "auth/token/renew-self":
		return s.authenticated(token, s.tokens.renew(token))
	case "auth/token/revoke-self":
		s.tokens.revoke(token)
		return http.StatusNoContent, nil
	}
	return http.StatusNotFound, failure()
}

func (s *server) authenticated(token string, l login) (int, []byte) {
	policies := []string{"default", l.identity}
	return http.StatusOK, body(&logical.HTTPResponse{Auth: &logical.HTTPAuth{
		ClientToken: token, Accessor: l.accessor, Policies: policies, TokenPolicies: policies, Renewable: true,
		LeaseDuration: int(l.expires.Sub(s.now()).Seconds()), TokenType: "service",
		Metadata: map[string]string{"cert_name": l.identity, "common_name": l.identity},
	}})
}

// respond turns the engine's answer into Vault's JSON.
func (s *server) respond(req *logical.Request, resp *logical.Response, err error) (int, []byte) {
	status, failed := logical.RespondErrorCommon(req, resp, err)
	switch {
	case failed != nil && status >= 500:
		slog.Error("transit engine", "path", req.Path, "error", failed)
		return status, failure("internal error")
	case failed != nil:
		return status, failure(failed.Error())
	case status >= 400:
		return status, failure()
	case resp == nil:
		return http.StatusNoContent, nil
	}
	// A batch in which single items failed carries its own status and body.
	if raw, ok := resp.Data[logical.HTTPRawBody]; ok {
		code, _ := resp.Data[logical.HTTPStatusCode].(int)
		switch raw := raw.(type) {
		case string:
			return code, []byte(raw)
		case []byte:
			return code, raw
		}
	}
	out := logical.LogicalResponseToHTTPResponse(resp)
	out.RequestID = req.ID
	return http.StatusOK, body(out)
}

func (s *server) health(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body(map[string]any{
		"initialized": true, "sealed": false, "standby": false, "server_time_utc": s.now().Unix(), "version": "1.21.4",
	}))
}

func failure(errors ...string) []byte {
	if errors == nil {
		errors = []string{}
	}
	return body(map[string]any{"errors": errors})
}

func body(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil { // plain data always encodes
		panic(err)
	}
	return append(out, '\n')
}
