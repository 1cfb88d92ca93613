package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"google.golang.org/grpc/codes"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// Step is how long a one-time code lasts.
const Step = 30 * time.Second

// Code is the one-time code of a secret at a moment, as a phone shows it.
func Code(secret string, at time.Time) (string, error) {
	code, err := totp.GenerateCodeCustom(secret, at, totp.ValidateOpts{Period: uint(Step.Seconds()), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return "", fmt.Errorf("one-time code: %w", err)
	}
	return code, nil
}

// SignIn opens a session with password and one-time code. A code counts once:
// where the current one was used already, the next is tried, which the server's
// tolerance of one step takes; where that was used too, the one after, once its
// time has come.
func (c *Client) SignIn(ctx context.Context, username, password, secret string) (*authv1.SignInResponse, error) {
	session, err := c.signIn(ctx, username, password, secret, time.Now())
	if failed(err) {
		session, err = c.signIn(ctx, username, password, secret, time.Now().Add(Step))
	}
	if failed(err) {
		now := time.Now()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(now.Truncate(Step).Add(Step).Sub(now)):
		}
		session, err = c.signIn(ctx, username, password, secret, time.Now().Add(Step))
	}
	return session, err
}

func (c *Client) signIn(ctx context.Context, username, password, secret string, at time.Time) (*authv1.SignInResponse, error) {
	code, err := Code(secret, at)
	if err != nil {
		return nil, err
	}
	var session authv1.SignInResponse
	request := &authv1.SignInRequest{Username: username, Password: password, TotpCode: code}
	if err := c.Call(ctx, http.MethodPost, "/v1/auth:signIn", request, &session); err != nil {
		return nil, fmt.Errorf("sign in %s: %w", username, err)
	}
	return &session, nil
}

func failed(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Code == codes.Unauthenticated
}
