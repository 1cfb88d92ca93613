package api

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// filtered is every request that narrows the log.
type filtered interface {
	GetPatientId() string
	GetUserId() string
	GetSessionId() string
	GetDeviceId() string
	GetNetwork() string
	GetAction() accessv1.Action
	GetOutcome() auditv1.Outcome
	GetMinRisk() auditv1.Risk
	GetService() accessv1.Service
	GetMethod() string
}

// bounded is a filtered request with times.
type bounded interface {
	GetFromTime() *timestamppb.Timestamp
	GetToTime() *timestamppb.Timestamp
}

// filter reads what protovalidate has checked, apart from addresses and times.
func filter(ctx context.Context, req filtered) (store.Filter, error) {
	f := store.Filter{
		Action: int16(req.GetAction()), Outcome: int16(req.GetOutcome()), Risk: int16(req.GetMinRisk()),
		Service: int16(req.GetService()), Method: req.GetMethod(),
	}
	for _, id := range []struct {
		field, text string
		into        *uuid.UUID
	}{
		{"patient_id", req.GetPatientId(), &f.Patient}, {"user_id", req.GetUserId(), &f.User},
		{"session_id", req.GetSessionId(), &f.Session}, {"device_id", req.GetDeviceId(), &f.Device},
	} {
		if id.text == "" {
			continue
		}
		var err error
		if *id.into, err = uuid.Parse(id.text); err != nil {
			return f, invalid(id.field, "must be a UUID")
		}
	}
	var err error
	if f.Address, err = network(ctx, req.GetNetwork()); err != nil {
		return f, err
	}
	if b, ok := req.(bounded); ok {
		err = times(b, &f)
	}
	return f, err
}

// network reads an address or a network. Whoever may not see addresses could find
// them out by filtering, so that takes the same permission.
func network(ctx context.Context, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if c, ok := caller.From(ctx); !ok || !c.Permissions.Has(accessv1.Permission_PERMISSION_AUDIT_ADDRESSES_READ) {
		return netip.Prefix{}, errs.New(errs.KindDenied, "PERMISSION_MISSING", "to filter by address takes the permission to see addresses")
	}
	prefix, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var at netip.Addr
		at, err = netip.ParseAddr(text)
		at = at.Unmap().WithZone("")
		prefix = netip.PrefixFrom(at, at.BitLen())
	}
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, invalid("network", "must be an address or a network, as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48")
	}
	return prefix.Masked(), nil
}

func times(req bounded, f *store.Filter) error {
	for _, at := range []struct {
		field string
		value *timestamppb.Timestamp
		into  *time.Time
	}{{"from_time", req.GetFromTime(), &f.From}, {"to_time", req.GetToTime(), &f.To}} {
		if at.value == nil {
			continue
		}
		if at.value.CheckValid() != nil {
			return invalid(at.field, "must be a time between the years 1 and 9999")
		}
		*at.into = at.value.AsTime()
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return invalid("to_time", "must be after from_time")
	}
	return nil
}

func invalid(field, description string) error {
	return errs.New(errs.KindInvalid, "REQUEST_INVALID", "the request is not valid").WithField(field, description)
}
