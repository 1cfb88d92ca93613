package server

import (
	"context"
	"fmt"
	"net"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/mtls"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// peer learns from the certificate which service calls, and whether the rule lets it.
func (s *Server) peer(next handler) handler {
	return func(ctx context.Context, c *call) error {
		service, ok := mtls.PeerService(ctx)
		c.recorder.SetPeer(service, peerAddress(ctx))
		if !ok {
			return errs.New(errs.KindUnauthenticated, "CALLER_SERVICE_UNKNOWN", "the client certificate names no service")
		}
		if !c.method.callers[service] {
			return errs.New(errs.KindDenied, "CALLER_SERVICE_NOT_ALLOWED",
				fmt.Sprintf("service %s may not call this method", access.ServiceName(service)))
		}
		return next(ctx, c)
	}
}

func peerAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	if tcp, ok := p.Addr.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return ""
}

// identify verifies the caller token, unless the rule is anonymous.
func (s *Server) identify(next handler) handler {
	return func(ctx context.Context, c *call) error {
		if c.method.rule.GetAnonymous() {
			return next(ctx, c)
		}
		tokens := metadata.ValueFromIncomingContext(ctx, caller.MetadataKey)
		switch len(tokens) {
		case 0:
			return errs.New(errs.KindUnauthenticated, "CALLER_TOKEN_MISSING", "the request carries no caller token")
		case 1:
		default:
			return errs.New(errs.KindUnauthenticated, "CALLER_TOKEN_INVALID", "the request carries more than one caller token")
		}
		who, err := s.verifier.Verify(tokens[0])
		if err != nil {
			return err
		}
		c.caller = who
		c.recorder.SetCaller(who)
		if c.method.rule.GetPhi() && c.method.answer != nil {
			c.recorder.SetWithheld(access.Withheld(c.method.answer, who.View()))
		}
		return next(caller.With(ctx, who), c)
	}
}

// errPurpose names the gateway's header: what comes here from elsewhere has a purpose.
var errPurpose = errs.New(errs.KindInvalid, "PURPOSE_REQUIRED",
	"this touches patient data: say what for in the header X-Purpose-Of-Use, as TREATMENT, PAYMENT, OPERATIONS or INDIVIDUAL")

// permit compares the caller with the rule. Assurance comes first: signing in with
// a second factor may be all that is missing.
func permit(next handler) handler {
	return func(ctx context.Context, c *call) error {
		rule := c.method.rule
		if rule.GetAnonymous() {
			return next(ctx, c)
		}
		if c.caller.Assurance < rule.GetAssurance() {
			if c.caller.Gates.Has(accessv1.Gate_GATE_NETWORK) {
				return access.NewGates(accessv1.Gate_GATE_NETWORK).Err()
			}
			return errs.New(errs.KindDenied, "ASSURANCE_TOO_LOW", "sign in with a second factor to do this")
		}
		if c.caller.Withheld.Has(rule.GetPermission()) {
			return c.caller.Gates.Err()
		}
		if !c.caller.Permissions.Has(rule.GetPermission()) {
			return errs.New(errs.KindDenied, "PERMISSION_MISSING", "this needs "+rule.GetPermission().String())
		}
		if rule.GetPhi() && c.caller.Purpose == accessv1.Purpose_PURPOSE_UNSPECIFIED {
			return errPurpose
		}
		return next(ctx, c)
	}
}
