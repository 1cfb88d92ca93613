package app

import (
	"context"

	"github.com/carekeep/carekeep/services/auth/internal/api"
	"github.com/carekeep/carekeep/services/auth/internal/code"
	"github.com/carekeep/carekeep/services/auth/internal/keyring"
	"github.com/carekeep/carekeep/services/auth/internal/limit"
	"github.com/carekeep/carekeep/services/auth/internal/qr"
	"github.com/carekeep/carekeep/services/auth/internal/recovery"
)

// codes puts one-time codes, recovery codes and QR sign-in together.
func (a *App) codes(ctx context.Context, s Settings, o Options, service *api.Service, limiter *limit.Limiter) (*api.Codes, error) {
	l, notices, sessions, failures := a.link, a.notices.Notices, service.Sessions, service.SignIns.Failures
	sent, err := code.New(ctx, code.Options{
		Store: l.store, Sealer: l.sealer, Sessions: sessions, Limiter: limiter, Failures: failures, Notices: notices, SMS: a.sms, Now: o.clock(),
	})
	if err != nil {
		return nil, err
	}
	kept, err := recovery.New(ctx, recovery.Options{
		Store: l.store, Sealer: l.sealer, Sessions: sessions, Limiter: limiter, Failures: failures, Notices: notices, Now: o.clock(),
	})
	if err != nil {
		return nil, err
	}
	return &api.Codes{
		Codes: sent, Recovery: kept,
		Keyring: &keyring.Keyring{Store: l.store, Sealer: l.sealer, Sessions: sessions, Notices: notices, Now: o.clock()},
		QR: &qr.SignIns{
			Store: l.store, Sessions: sessions, Limiter: limiter, Notices: notices, PublicURL: s.PublicURL, Now: o.clock(),
		},
	}, nil
}
