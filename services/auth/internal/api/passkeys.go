package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/auth/internal/factor"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/passkey"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// PasskeyService implements carekeep.auth.v1.PasskeyService.
type PasskeyService struct {
	authv1.UnimplementedPasskeyServiceServer

	Passkeys *passkey.Passkeys
	Factors  *factor.Factors
}

// BeginPasskeyRegistration implements PasskeyService.
func (s *PasskeyService) BeginPasskeyRegistration(ctx context.Context, _ *authv1.BeginPasskeyRegistrationRequest) (*authv1.PasskeyCeremony, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	return ceremony(s.Passkeys.BeginRegistration(ctx, c))
}

// FinishPasskeyRegistration implements PasskeyService.
func (s *PasskeyService) FinishPasskeyRegistration(ctx context.Context, r *authv1.FinishPasskeyRegistrationRequest) (*authv1.FinishPasskeyRegistrationResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	if err := line("display_name", r.GetDisplayName()); err != nil {
		return nil, err
	}
	id, answer, err := answered(r.GetCeremony(), r.GetCredential())
	if err != nil {
		return nil, err
	}
	added, err := s.Passkeys.FinishRegistration(ctx, c, id, answer, r.GetDisplayName())
	if err != nil {
		return nil, err
	}
	response := &authv1.FinishPasskeyRegistrationResponse{Passkey: passkeyMessage(added.Passkey), OtherSessions: int32(added.Others)}
	if added.Raised != nil {
		response.Session = signedIn(*added.Raised, method.Passkey)
	}
	return response, nil
}

// BeginPasskeySignIn implements PasskeyService.
func (s *PasskeyService) BeginPasskeySignIn(ctx context.Context, r *authv1.BeginPasskeySignInRequest) (*authv1.PasskeyCeremony, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	return ceremony(s.Passkeys.BeginSignIn(ctx, from))
}

// FinishPasskeySignIn implements PasskeyService.
func (s *PasskeyService) FinishPasskeySignIn(ctx context.Context, r *authv1.FinishPasskeySignInRequest) (*authv1.SignInResponse, error) {
	from, err := client(ctx, r.GetClient())
	if err != nil {
		return nil, err
	}
	id, answer, err := answered(r.GetCeremony(), r.GetCredential())
	if err != nil {
		return nil, err
	}
	result, err := s.Passkeys.FinishSignIn(ctx, id, answer, from)
	if err != nil {
		return nil, err
	}
	return signedIn(result.Opened, result.Factors), nil
}

// BeginPasskeyStepUp implements PasskeyService.
func (s *PasskeyService) BeginPasskeyStepUp(ctx context.Context, _ *authv1.BeginPasskeyStepUpRequest) (*authv1.PasskeyCeremony, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	return ceremony(s.Passkeys.BeginStepUp(ctx, c))
}

// FinishPasskeyStepUp implements PasskeyService.
func (s *PasskeyService) FinishPasskeyStepUp(ctx context.Context, r *authv1.FinishPasskeyStepUpRequest) (*authv1.SignInResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, answer, err := answered(r.GetCeremony(), r.GetCredential())
	if err != nil {
		return nil, err
	}
	opened, err := s.Passkeys.FinishStepUp(ctx, c, id, answer)
	if err != nil {
		return nil, err
	}
	return signedIn(opened, method.Passkey), nil
}

// ListPasskeys implements PasskeyService.
func (s *PasskeyService) ListPasskeys(ctx context.Context, _ *authv1.ListPasskeysRequest) (*authv1.ListPasskeysResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Passkeys.List(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListPasskeysResponse{}
	for _, row := range list {
		response.Passkeys = append(response.Passkeys, passkeyMessage(row))
	}
	return response, nil
}

// UpdatePasskey implements PasskeyService.
func (s *PasskeyService) UpdatePasskey(ctx context.Context, r *authv1.UpdatePasskeyRequest) (*authv1.Passkey, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	wanted := r.GetPasskey()
	id, err := idOf("passkey.name", wanted.GetName(), "passkeys")
	if err != nil {
		return nil, err
	}
	named, err := newMask(r.GetUpdateMask(), map[string]bool{"display_name": wanted.GetDisplayName() != ""},
		"name", "etag", "create_time", "last_use_time", "backup_eligible", "backed_up", "transports")
	if err != nil {
		return nil, err
	}
	version, err := versionOf("passkey.etag", wanted.GetEtag())
	if err != nil {
		return nil, err
	}
	if !named.has("display_name") {
		row, err := s.Passkeys.Get(ctx, c, id)
		return passkeyMessage(row), err
	}
	if err := line("passkey.display_name", wanted.GetDisplayName()); err != nil {
		return nil, err
	}
	row, err := s.Passkeys.Rename(ctx, c, id, version, wanted.GetDisplayName())
	if err != nil {
		return nil, err
	}
	return passkeyMessage(row), nil
}

// DeletePasskey implements PasskeyService.
func (s *PasskeyService) DeletePasskey(ctx context.Context, r *authv1.DeletePasskeyRequest) (*authv1.DeletePasskeyResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	id, err := idOf("name", r.GetName(), "passkeys")
	if err != nil {
		return nil, err
	}
	others, err := s.Passkeys.Remove(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &authv1.DeletePasskeyResponse{OtherSessions: int32(others)}, nil
}

// Reauthenticate implements PasskeyService.
func (s *PasskeyService) Reauthenticate(ctx context.Context, r *authv1.ReauthenticateRequest) (*authv1.SignInResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	opened, err := s.Factors.Reauthenticate(ctx, c, r.GetPassword(), r.GetTotpCode())
	if err != nil {
		return nil, err
	}
	return signedIn(opened, method.TOTP), nil
}

// ceremony turns the options into the message that browsers take as it is.
func ceremony(begun passkey.Ceremony, err error) (*authv1.PasskeyCeremony, error) {
	if err != nil {
		return nil, err
	}
	options := &structpb.Struct{}
	if err := protojson.Unmarshal(begun.Options, options); err != nil {
		return nil, err
	}
	return &authv1.PasskeyCeremony{Ceremony: begun.ID.String(), Options: options}, nil
}

// answered reads the ceremony's id and writes the credential as JSON again.
func answered(id string, credential *structpb.Struct) (uuid.UUID, []byte, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return uuid.Nil, nil, invalid("ceremony", "must be a UUID")
	}
	raw, err := protojson.Marshal(credential)
	if err != nil {
		return uuid.Nil, nil, passkey.ErrRefused // such as a number that is none
	}
	return parsed, raw, nil
}

func passkeyMessage(row store.Passkey) *authv1.Passkey {
	message := &authv1.Passkey{
		Name: passkey.Name(row.ID), DisplayName: row.DisplayName, CreateTime: timestamppb.New(row.Created),
		BackupEligible: row.BackupEligible, BackedUp: row.BackedUp, Transports: row.Transports, Etag: etag(row.Version),
	}
	if row.LastUse != nil {
		message.LastUseTime = timestamppb.New(*row.LastUse)
	}
	return message
}
