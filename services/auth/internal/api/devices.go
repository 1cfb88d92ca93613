package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/account"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/session"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// Devices implements carekeep.auth.v1.DeviceService.
type Devices struct {
	authv1.UnimplementedDeviceServiceServer

	Devices  *device.Devices
	Sessions *session.Sessions
	Accounts *account.Accounts
}

// ListDevices implements DeviceService.
func (s *Devices) ListDevices(ctx context.Context, _ *authv1.ListDevicesRequest) (*authv1.ListDevicesResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Devices.List(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListDevicesResponse{}
	for _, row := range list {
		response.Devices = append(response.Devices, deviceMessage(row))
	}
	return response, nil
}

// RenameDevice implements DeviceService.
func (s *Devices) RenameDevice(ctx context.Context, r *authv1.RenameDeviceRequest) (*authv1.Device, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "devices")
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	row, err := s.Devices.Rename(ctx, c, id, r.GetDisplayName())
	if err != nil {
		return nil, err
	}
	return deviceMessage(row), nil
}

// ForgetDevice implements DeviceService.
func (s *Devices) ForgetDevice(ctx context.Context, r *authv1.ForgetDeviceRequest) (*authv1.ForgetDeviceResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "devices")
	if err != nil {
		return nil, err
	}
	ended, err := s.Devices.Forget(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &authv1.ForgetDeviceResponse{Ended: int32(ended)}, nil
}

// EndOtherSessions implements DeviceService.
func (s *Devices) EndOtherSessions(ctx context.Context, r *authv1.EndOtherSessionsRequest) (*authv1.EndOtherSessionsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := s.Sessions.EndOthers(ctx, c, r.GetIncludeCurrent())
	if err != nil {
		return nil, err
	}
	return &authv1.EndOtherSessionsResponse{Ended: int32(ended)}, nil
}

// ReportCompromise implements DeviceService.
func (s *Devices) ReportCompromise(ctx context.Context, _ *authv1.ReportCompromiseRequest) (*authv1.ReportCompromiseResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := s.Accounts.Report(ctx, c)
	if err != nil {
		return nil, err
	}
	return &authv1.ReportCompromiseResponse{Ended: int32(ended)}, nil
}

// ThawUser implements DeviceService.
func (s *Devices) ThawUser(ctx context.Context, r *authv1.ThawUserRequest) (*authv1.ThawUserResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "users")
	if err != nil {
		return nil, err
	}
	if err := s.Accounts.Thaw(ctx, c, id); err != nil {
		return nil, err
	}
	return &authv1.ThawUserResponse{}, nil
}

func deviceMessage(d store.Device) *authv1.Device {
	m := &authv1.Device{
		Name: device.Name(d.ID), DisplayName: d.Label, CreateTime: timestamppb.New(d.Created), LastUseTime: timestamppb.New(d.LastUse),
		Current: d.Current,
	}
	if d.Attested != nil {
		m.AttestTime = timestamppb.New(*d.Attested)
	}
	return m
}

// deviceName is empty for a session of an older release.
func deviceName(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return device.Name(*id)
}
