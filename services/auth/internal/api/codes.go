package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/auth/internal/code"
	"github.com/carekeep/carekeep/services/auth/internal/keyring"
	"github.com/carekeep/carekeep/services/auth/internal/method"
	"github.com/carekeep/carekeep/services/auth/internal/qr"
	"github.com/carekeep/carekeep/services/auth/internal/recovery"
	"github.com/carekeep/carekeep/services/auth/internal/session"
)

// Codes implements carekeep.auth.v1.CodeService.
type Codes struct {
	authv1.UnimplementedCodeServiceServer

	Codes    *code.Codes
	Recovery *recovery.Codes
	Keyring  *keyring.Keyring
	QR       *qr.SignIns
}

// codeRequest is who asks, and the challenge that the request names.
func codeRequest(ctx context.Context, challenge string) (*caller.Caller, uuid.UUID, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	id, err := requestID(challenge)
	if err != nil {
		return nil, uuid.Nil, err
	}
	if id == nil {
		return nil, uuid.Nil, invalid("challenge", "is required")
	}
	return c, *id, nil
}

func challengeMessage(c code.Challenge) *authv1.Challenge {
	return &authv1.Challenge{Challenge: c.ID.String(), ExpireTime: timestamppb.New(c.Expires)}
}

func sent(ctx context.Context, send func(context.Context, *caller.Caller) (code.Challenge, error)) (*authv1.Challenge, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	challenge, err := send(ctx, c)
	if err != nil {
		return nil, err
	}
	return challengeMessage(challenge), nil
}

type verify func(context.Context, *caller.Caller, uuid.UUID, string) (session.Opened, method.Set, error)

func verified(ctx context.Context, challenge, text string, check verify) (*authv1.SignInResponse, error) {
	c, id, err := codeRequest(ctx, challenge)
	if err != nil {
		return nil, err
	}
	opened, factors, err := check(ctx, c, id, text)
	if err != nil {
		return nil, err
	}
	return signedIn(opened, factors), nil
}

// SendEmailCode implements CodeService.
func (s *Codes) SendEmailCode(ctx context.Context, _ *authv1.SendEmailCodeRequest) (*authv1.Challenge, error) {
	return sent(ctx, s.Codes.SendEmail)
}

// VerifyEmailCode implements CodeService.
func (s *Codes) VerifyEmailCode(ctx context.Context, r *authv1.VerifyEmailCodeRequest) (*authv1.SignInResponse, error) {
	return verified(ctx, r.GetChallenge(), r.GetCode(), s.Codes.VerifyEmail)
}

// EnrolPhone implements CodeService.
func (s *Codes) EnrolPhone(ctx context.Context, r *authv1.EnrolPhoneRequest) (*authv1.Challenge, error) {
	return sent(ctx, func(ctx context.Context, c *caller.Caller) (code.Challenge, error) {
		return s.Codes.EnrolPhone(ctx, c, r.GetNumber(), r.GetConsent())
	})
}

// ConfirmPhone implements CodeService.
func (s *Codes) ConfirmPhone(ctx context.Context, r *authv1.ConfirmPhoneRequest) (*authv1.FactorChange, error) {
	c, id, err := codeRequest(ctx, r.GetChallenge())
	if err != nil {
		return nil, err
	}
	confirmed, err := s.Codes.ConfirmPhone(ctx, c, id, r.GetCode(), r.GetEndOtherSessions())
	if err != nil {
		return nil, err
	}
	change := factorChange(confirmed.Open, confirmed.Ended)
	change.Session = signedIn(confirmed.Session, confirmed.Factors)
	return change, nil
}

// SendSmsCode implements CodeService.
func (s *Codes) SendSmsCode(ctx context.Context, _ *authv1.SendSmsCodeRequest) (*authv1.Challenge, error) {
	return sent(ctx, s.Codes.SendSMS)
}

// VerifySmsCode implements CodeService.
func (s *Codes) VerifySmsCode(ctx context.Context, r *authv1.VerifySmsCodeRequest) (*authv1.SignInResponse, error) {
	return verified(ctx, r.GetChallenge(), r.GetCode(), s.Codes.VerifySMS)
}

// GenerateRecoveryCodes implements CodeService.
func (s *Codes) GenerateRecoveryCodes(ctx context.Context, r *authv1.GenerateRecoveryCodesRequest) (*authv1.GenerateRecoveryCodesResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	made, err := s.Recovery.Generate(ctx, c, r.GetEndOtherSessions())
	if err != nil {
		return nil, err
	}
	return &authv1.GenerateRecoveryCodesResponse{Codes: made.Codes, Change: factorChange(made.Open, made.Ended)}, nil
}

// VerifyRecoveryCode implements CodeService.
func (s *Codes) VerifyRecoveryCode(ctx context.Context, r *authv1.VerifyRecoveryCodeRequest) (*authv1.SignInResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	opened, factors, err := s.Recovery.Verify(ctx, c, r.GetCode())
	if err != nil {
		return nil, err
	}
	return signedIn(opened, factors), nil
}

// factors are the names under which factors are listed and removed.
var factors = map[method.Set]string{
	method.TOTP: "factors/totp", method.SMS: "factors/sms", method.Recovery: "factors/recoveryCodes",
	method.Passkey: "factors/passkeys", method.Email: "factors/email",
}

// ListFactors implements CodeService.
func (s *Codes) ListFactors(ctx context.Context, _ *authv1.ListFactorsRequest) (*authv1.ListFactorsResponse, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.Keyring.List(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &authv1.ListFactorsResponse{}
	for _, f := range list {
		response.Factors = append(response.Factors, &authv1.Factor{
			Name: factors[f.Method], Method: f.Method.List()[0], Count: int32(f.Count), Hint: f.Hint, SecondFactor: f.Second,
		})
	}
	return response, nil
}

// RemoveFactor implements CodeService.
func (s *Codes) RemoveFactor(ctx context.Context, r *authv1.RemoveFactorRequest) (*authv1.FactorChange, error) {
	c, err := who(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range []method.Set{method.TOTP, method.SMS, method.Recovery} {
		if factors[m] != r.GetName() {
			continue
		}
		open, ended, err := s.Keyring.Remove(ctx, c, m, r.GetName(), r.GetEndOtherSessions())
		if err != nil {
			return nil, err
		}
		return factorChange(open, ended), nil
	}
	return nil, invalid("name", "must be factors/totp, factors/sms or factors/recoveryCodes")
}

func factorChange(open, ended int) *authv1.FactorChange {
	return &authv1.FactorChange{OtherSessions: int32(open), EndedSessions: int32(ended)} //nolint:gosec // four sessions at most
}
