// Package api is the gRPC face of auth: it turns messages into calls of
// operations and results into messages. It holds no rules; who may call stands
// in the proto files and is enforced by libs/server.
package api

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/peer"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/services/auth/internal/admit"
	"github.com/carekeep/carekeep/services/auth/internal/factor"
	"github.com/carekeep/carekeep/services/auth/internal/invite"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/signin"
	"github.com/carekeep/carekeep/services/auth/internal/staff"
	"github.com/carekeep/carekeep/services/auth/internal/user"
)

// Service implements carekeep.auth.v1.AuthService.
type Service struct {
	authv1.UnimplementedAuthServiceServer

	SignIns   *signin.SignIns
	Factors   *factor.Factors
	Sessions  *session.Sessions
	Invites   *invite.Invites
	Admitter  *admit.Admitter
	Practices *practice.Practices
	Users     *user.Users
	Staff     *staff.Staff
}

// who returns the caller that libs/server verified.
func who(ctx context.Context) (*caller.Caller, error) {
	c, ok := caller.From(ctx)
	if !ok {
		return nil, errs.New(errs.KindInternal, "CALLER_MISSING", "internal error")
	}
	return c, nil
}

// client says where a request comes from. Only the gateway is believed about
// somebody else's address; for every other service it is the service's own.
func client(ctx context.Context, said *authv1.Client) (session.Client, error) {
	address := said.GetAddress()
	if service, _ := mtls.PeerService(ctx); service != accessv1.Service_SERVICE_GATEWAY {
		address = peerAddress(ctx)
	}
	if address != "" {
		ip, err := netip.ParseAddr(address)
		if err != nil || ip.Zone() != "" {
			return session.Client{}, errs.New(errs.KindInvalid, "ADDRESS_INVALID", "the client's address must be an IP address").
				WithField("client.address", "is not an IP address")
		}
		address = ip.Unmap().String()
	}
	return session.Client{
		Address: address, UserAgent: storable(said.GetUserAgent()), AcceptLanguage: storable(said.GetAcceptLanguage()),
		DeviceToken: said.GetDeviceToken(), Cookies: said.GetCookies(),
	}, nil
}

func peerAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	tcp, ok := p.Addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	return tcp.AddrPort().Addr().WithZone("").String()
}

// storable replaces the one character that Postgres refuses in text.
func storable(text string) string { return strings.ReplaceAll(text, "\x00", "\ufffd") }
