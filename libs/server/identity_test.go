package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/caller/callertest"
	"github.com/carekeep/carekeep/libs/devkit/ca"
)

const (
	ok     = auditv1.Outcome_OUTCOME_OK
	denied = auditv1.Outcome_OUTCOME_DENIED
	failed = auditv1.Outcome_OUTCOME_FAILED
)

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func TestDH04_OnlyTLS13WithACertificateOfTheMesh(t *testing.T) {
	r := newRig(t).start()
	mesh := r.source("gateway").ClientTLS(records)
	foreign, err := ca.ForTest(t).Source("gateway")
	require.NoError(t, err)

	old := mesh.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	bare := mesh.Clone()
	bare.Certificates, bare.GetClientCertificate = nil, nil
	stranger := foreign.ClientTLS(records)
	stranger.VerifyPeerCertificate, stranger.InsecureSkipVerify = nil, true
	nobody := r.source("gateway-migrate").ClientTLS(records)
	for name, creds := range map[string]credentials.TransportCredentials{
		"plaintext":                 insecure.NewCredentials(),
		"TLS 1.2":                   credentials.NewTLS(old),
		"no certificate":            credentials.NewTLS(bare),
		"another authority":         credentials.NewTLS(stranger),
		"a name that is no service": credentials.NewTLS(nobody),
	} {
		conn, err := grpc.NewClient(r.server.Addr().String(), grpc.WithTransportCredentials(creds))
		require.NoError(t, err)
		_, err = invoke(r.as(readEntries), conn, getRPC, 1)
		require.Equal(t, codes.Unavailable, status.Code(err), "%s: %v", name, err)
		_ = conn.Close()
	}
	require.Empty(t, r.sink.take(), "no RPC began")
	_, err = r.call(r.as(readEntries), getRPC)
	require.NoError(t, err)
}

func TestServiceOutsideTheRuleIsRefused(t *testing.T) {
	r := newRig(t).start()
	conn := r.dial("backup")
	_, err := invoke(r.as(readEntries), conn, getRPC, 1)
	e := r.want(err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED", denied)
	require.Equal(t, accessv1.Service_SERVICE_BACKUP, e.GetCaller())
	require.Empty(t, e.GetUserId(), "the token of a refused service is not looked at")
	_, err = invoke(r.context(), conn, openRPC, 1)
	r.want(err, codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED", denied)

	ss, err := conn.NewStream(r.as(readEntries), probeStream, streamRPC)
	require.NoError(t, err)
	r.want(ss.RecvMsg(&auditv1.Entry{}), codes.PermissionDenied, "CALLER_SERVICE_NOT_ALLOWED", denied)
}

func TestCallerTokenIsAskedForAndVerified(t *testing.T) {
	r := newRig(t).start()
	doctor := callertest.Doctor(records, readEntries)
	good := r.auth.Token(t, doctor)
	late, err := r.auth.Signer.Sign(doctor, time.Now().Add(-2*time.Minute))
	require.NoError(t, err)
	elsewhere := doctor
	elsewhere.Audience = accessv1.Service_SERVICE_AUDIT
	attach := func(tokens ...string) context.Context {
		ctx := r.context()
		for _, token := range tokens {
			ctx = metadata.AppendToOutgoingContext(ctx, caller.MetadataKey, token)
		}
		return ctx
	}
	for reason, ctx := range map[string]context.Context{
		"CALLER_TOKEN_MISSING":  attach(),
		"CALLER_TOKEN_EXPIRED":  attach(late),
		"CALLER_TOKEN_AUDIENCE": attach(r.auth.Token(t, elsewhere)),
		"CALLER_TOKEN_INVALID":  attach(callertest.New(t).Token(t, doctor)),
	} {
		_, err := r.call(ctx, getRPC)
		e := r.want(err, codes.Unauthenticated, reason, denied)
		require.Equal(t, accessv1.Service_SERVICE_GATEWAY, e.GetCaller())
		require.Equal(t, "127.0.0.1", e.GetAddress())
		r.want(r.open(ctx, streamRPC).RecvMsg(&auditv1.Entry{}), codes.Unauthenticated, reason, denied)
	}
	_, err = r.call(attach(good, good), getRPC)
	r.want(err, codes.Unauthenticated, "CALLER_TOKEN_INVALID", denied)
	_, err = r.call(attach(""), getRPC)
	r.want(err, codes.Unauthenticated, "CALLER_TOKEN_INVALID", denied)

	_, err = r.call(attach(good), getRPC)
	require.NoError(t, err)
	e := r.sink.take()[0]
	require.Equal(t, ok, e.GetOutcome())
	require.Equal(t, doctor.User.String(), e.GetUserId())
	require.Equal(t, doctor.Practice.String(), e.GetPracticeId())
	require.Equal(t, "192.0.2.7", e.GetAddress(), "the client's address, not the gateway's")
	require.Equal(t, getRPC, e.GetMethod())
	require.Equal(t, records, e.GetService())
}

func TestAnonymousRuleAsksForNoToken(t *testing.T) {
	r := newRig(t).start()
	_, err := r.call(r.context(), openRPC)
	require.NoError(t, err)
	require.Equal(t, ok, r.sink.take()[0].GetOutcome())
	// A token on it is not looked at, so a handler cannot take it for a verified one.
	r.probe.unary = func(ctx context.Context, _ *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		_, known := caller.From(ctx)
		require.False(t, known)
		return &auditv1.Entry{}, nil
	}
	_, err = r.call(r.as(readEntries), openRPC)
	require.NoError(t, err)
}

func TestDH15_PermissionAndAssuranceAreAskedFor(t *testing.T) {
	r := newRig(t).start()
	called := false
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		called = true
		return &auditv1.Entry{}, nil
	}
	_, err := r.call(r.as(readAddresses), getRPC)
	e := r.want(err, codes.PermissionDenied, "PERMISSION_MISSING", denied)
	require.Contains(t, status.Convert(err).Message(), "PERMISSION_AUDIT_ENTRIES_READ")
	require.Equal(t, "dr.smith", e.GetUsername(), "who was denied is known by then")

	weak := callertest.Doctor(records, readEntries)
	weak.Assurance = accessv1.Assurance_ASSURANCE_AAL1
	_, err = r.call(caller.Attach(r.context(), r.auth.Token(t, weak)), getRPC)
	r.want(err, codes.PermissionDenied, "ASSURANCE_TOO_LOW", denied)
	require.False(t, called)
}

func TestDMD05_PatientDataTakesAPurpose(t *testing.T) {
	r := newRig(t).start()
	r.probe.unary = func(context.Context, *auditv1.GetEntryRequest) (*auditv1.Entry, error) {
		return &auditv1.Entry{}, nil
	}
	aimless := callertest.Doctor(records, readEntries)
	aimless.Purpose = accessv1.Purpose_PURPOSE_UNSPECIFIED
	_, err := r.call(caller.Attach(r.context(), r.auth.Token(t, aimless)), getPHIRPC)
	r.want(err, codes.InvalidArgument, "PURPOSE_REQUIRED", failed)
	for _, word := range []string{"X-Purpose-Of-Use", "TREATMENT", "PAYMENT", "OPERATIONS", "INDIVIDUAL"} {
		require.Contains(t, status.Convert(err).Message(), word)
	}
	_, err = r.call(caller.Attach(r.context(), r.auth.Token(t, aimless)), getRPC)
	require.NoError(t, err, "no purpose is asked for where no patient data is touched")
}
