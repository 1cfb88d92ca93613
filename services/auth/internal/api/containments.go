package api

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/auth/internal/containment"
	"github.com/carekeep/carekeep/services/auth/internal/practice"
	"github.com/carekeep/carekeep/services/auth/internal/response"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Containments implements carekeep.auth.v1.ContainmentService.
type Containments struct {
	authv1.UnimplementedContainmentServiceServer

	Containments *containment.Containments
	Responses    *response.Responses
}

// Respond implements ContainmentService.
func (s *Containments) Respond(ctx context.Context, r *authv1.RespondRequest) (*authv1.RespondResponse, error) {
	detection, err := uuid.Parse(r.GetDetection())
	if err != nil {
		return nil, invalid("detection", "must be a UUID")
	}
	home, err := idOrNone("practice", r.GetPractice(), "practices")
	if err != nil {
		return nil, err
	}
	user, err := idOrNone("user", r.GetUser(), "users")
	if err != nil {
		return nil, err
	}
	if err := line("title", r.GetTitle()); err != nil {
		return nil, err
	}
	repeated, err := s.Responses.Respond(ctx, response.Request{
		Detection: detection, Kind: r.GetKind(), Title: r.GetTitle(), Practice: home, User: user,
		Address: storable(r.GetAddress()), Service: r.GetService(), Block: time.Duration(r.GetBlockSeconds()) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return &authv1.RespondResponse{Repeated: repeated}, nil
}

// ContainUser implements ContainmentService.
func (s *Containments) ContainUser(ctx context.Context, r *authv1.ContainUserRequest) (*authv1.ContainUserResponse, error) {
	c, id, err := acting(ctx, r.GetName(), "users", r.GetReason())
	if err != nil {
		return nil, err
	}
	ended, err := s.Containments.User(ctx, c, id, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &authv1.ContainUserResponse{Ended: int32(ended)}, nil //nolint:gosec // a user has a handful of sessions
}

// ContainAddress implements ContainmentService.
func (s *Containments) ContainAddress(ctx context.Context, r *authv1.ContainAddressRequest) (*authv1.ContainAddressResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("reason", r.GetReason()); err != nil {
		return nil, err
	}
	blocked, until, err := s.Containments.Address(ctx, c, r.GetAddress(), r.GetReason(), time.Duration(r.GetHours())*time.Hour)
	if err != nil {
		return nil, err
	}
	return &authv1.ContainAddressResponse{Network: blocked, ExpireTime: timestamppb.New(until)}, nil
}

// CreateContainment implements ContainmentService.
func (s *Containments) CreateContainment(ctx context.Context, r *authv1.CreateContainmentRequest) (*authv1.Containment, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("reason", r.GetReason()); err != nil {
		return nil, err
	}
	if (r.GetPractice() == "") == (r.GetService() == accessv1.Service_SERVICE_UNSPECIFIED) {
		return nil, invalid("practice", "name either a practice or a service")
	}
	var made store.Containment
	if r.GetPractice() == "" {
		made, err = s.Containments.Service(ctx, c, r.GetService(), r.GetReason())
	} else {
		var id uuid.UUID
		if id, err = idOf("practice", r.GetPractice(), "practices"); err == nil {
			made, err = s.Containments.Practice(ctx, c, id, r.GetReason())
		}
	}
	return contained(made, err)
}

// ApproveContainment implements ContainmentService.
func (s *Containments) ApproveContainment(ctx context.Context, r *authv1.ApproveContainmentRequest) (*authv1.Containment, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "containments")
	if err != nil {
		return nil, err
	}
	return contained(s.Containments.Approve(ctx, c, id))
}

// ReleaseContainment implements ContainmentService.
func (s *Containments) ReleaseContainment(ctx context.Context, r *authv1.ReleaseContainmentRequest) (*authv1.Containment, error) {
	c, id, err := acting(ctx, r.GetName(), "containments", r.GetReason())
	if err != nil {
		return nil, err
	}
	return contained(s.Containments.Release(ctx, c, id, r.GetReason()))
}

// ListContainments implements ContainmentService.
func (s *Containments) ListContainments(ctx context.Context, r *authv1.ListContainmentsRequest) (*authv1.ListContainmentsResponse, error) {
	read := func(ctx context.Context, _ *caller.Caller, after uuid.UUID, size int) ([]store.Containment, bool, error) {
		return s.Containments.List(ctx, after, size, r.GetOpenOnly())
	}
	list, next, err := listed(ctx, r, read, containmentMessage, func(c store.Containment) uuid.UUID { return c.ID })
	if err != nil {
		return nil, err
	}
	return &authv1.ListContainmentsResponse{Containments: list, NextPageToken: next}, nil
}

// acting reads the caller, the resource that they act on, and checks their reason.
func acting(ctx context.Context, name, collection, reason string) (*caller.Caller, uuid.UUID, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	if err := line("reason", reason); err != nil {
		return nil, uuid.Nil, err
	}
	id, err := idOf("name", name, collection)
	return c, id, err
}

func idOrNone(field, name, collection string) (uuid.UUID, error) {
	if name == "" {
		return uuid.Nil, nil
	}
	return idOf(field, name, collection)
}

func contained(c store.Containment, err error) (*authv1.Containment, error) {
	if err != nil {
		return nil, err
	}
	return containmentMessage(c), nil
}

func containmentMessage(c store.Containment) *authv1.Containment {
	m := &authv1.Containment{
		Name: containment.Name(c.ID), Reason: c.Reason, CreateTime: timestamppb.New(c.Created),
		Creator: userName(c.CreatedBy), Approver: userName(c.ApprovedBy), Releaser: userName(c.ReleasedBy), User: userName(c.User),
		EffectiveTime: timeOrNone(c.Since), ReleaseTime: timeOrNone(c.Released), ReleaseReason: c.ReleaseReason,
	}
	if c.OfPractice() {
		m.Practice = practice.Name(c.Practice)
	}
	if c.Service != nil {
		m.Service = *c.Service
	}
	if c.Network != nil {
		m.Network = *c.Network
	}
	if c.Detection != nil {
		m.Detection = c.Detection.String()
	}
	return m
}

func userName(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return "users/" + id.String()
}

func timeOrNone(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
