package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const maxBody = 32 << 20 // Vault's own default

// server answers Vault's HTTP API for the engine, the certificate login and the
// caller's own token.
type server struct {
	engine   *engine
	policies map[string]policy
	tokens   *tokens
	audit    *audit
	domain   string
	now      func() time.Time
}

func (s *server) serve(ctx context.Context, o options) error {
	cfg, err := tlsConfig(o)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler: s, TLSConfig: cfg, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // handshakes that end early
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- h.Shutdown(grace)
	}()
	slog.Info("transit listens", "address", listener.Addr().String())
	if err := h.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

func tlsConfig(o options) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.Certificate, o.Key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(o.Authorities)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", o.Authorities)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, nil
}

// ServeHTTP records every request before its answer leaves; where that fails there is no answer.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	if path == "sys/health" {
		s.health(w)
		return
	}
	rec := record{Time: s.now().UTC(), Request: random(16), Path: path, Address: r.RemoteAddr, Operation: r.Method}
	status, body := s.answer(r, path, &rec)
	rec.Status = status
	switch {
	case rec.Outcome != "": // denied
	case status >= 400:
		rec.Outcome = "failed"
	default:
		rec.Outcome = "allowed"
	}
	if err := s.audit.write(rec); err != nil {
		slog.Error("audit log", "error", err)
		status, body = http.StatusInternalServerError, failure("the audit log cannot be written")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone: nothing is left to tell it
}

func (s *server) answer(r *http.Request, path string, rec *record) (int, []byte) {
	identity, ok := s.identity(r)
	rec.Identity = identity
	if !ok {
		return deny(rec, http.StatusForbidden, "permission denied")
	}
	op, data, err := read(r)
	if err != nil {
		return http.StatusBadRequest, failure(err.Error())
	}
	rec.Operation = string(op)
	if path == "auth/cert/login" {
		return s.login(identity, op, data, rec)
	}
	token := r.Header.Get("X-Vault-Token")
	l, ok := s.tokens.lookup(token)
	if !ok || l.identity != identity {
		return deny(rec, http.StatusForbidden, "permission denied")
	}
	if op == logical.ListOperation && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	req := &logical.Request{ID: rec.Request, Operation: op, Path: path, Data: data}
	if strings.HasPrefix(path, mount) {
		if req.Operation, err = s.engine.operation(r.Context(), req); err != nil {
			return s.respond(req, nil, err)
		}
		rec.Operation = string(req.Operation)
	}
	if !s.policies[identity].allows(path, req.Operation, data) {
		return deny(rec, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	}
	if !strings.HasPrefix(path, mount) {
		return s.self(path, token, l)
	}
	resp, err := s.engine.handle(r.Context(), req)
	return s.respond(req, resp, err)
}

// identity is the service name that the client's certificate proves.
func (s *server) identity(r *http.Request) (string, bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || len(r.TLS.PeerCertificates[0].URIs) != 1 {
		return "", false
	}
	uri := r.TLS.PeerCertificates[0].URIs[0]
	name, ok := strings.CutPrefix(uri.Path, "/service/")
	return name, ok && uri.Scheme == "spiffe" && uri.Host == s.domain && name != "" && !strings.Contains(name, "/")
}

// read turns the HTTP method and body into an operation and its parameters, as Vault does.
func read(r *http.Request) (logical.Operation, map[string]any, error) {
	query := map[string]any{}
	for name, values := range r.URL.Query() {
		query[name] = values[0]
	}
	switch r.Method {
	case http.MethodGet:
		if query["list"] == "true" {
			return logical.ListOperation, nil, nil
		}
		return logical.ReadOperation, query, nil
	case "LIST":
		return logical.ListOperation, nil, nil
	case http.MethodDelete:
		return logical.DeleteOperation, query, nil
	case http.MethodPost, http.MethodPut:
		data := map[string]any{}
		d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
		d.UseNumber()
		if err := d.Decode(&data); err != nil && !errors.Is(err, io.EOF) {
			return "", nil, errors.New("error parsing JSON")
		}
		return logical.UpdateOperation, data, nil
	}
	return "", nil, errors.New("unsupported method")
}

func deny(rec *record, status int, text string) (int, []byte) {
	rec.Outcome = "denied"
	return status, failure(text)
}
