package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
	"github.com/carekeep/carekeep/services/ctl/internal/session"
)

// kept is where the session is, and what it is used for.
type kept struct {
	Session string `type:"path" placeholder:"FILE" help:"File with the session; by default in your configuration folder."`
	// Every role may state OPERATIONS, and what the commands do is that.
	Purpose string `enum:"TREATMENT,PAYMENT,OPERATIONS,INDIVIDUAL" default:"OPERATIONS" help:"What patient data is used for: ${enum}; by default ${default}."`
}

func (k kept) file() (string, error) {
	if k.Session != "" {
		return k.Session, nil
	}
	return session.File()
}

// act does what a verb says with the one thing that a command names, and reads what it is then. doing begins the error of a refusal.
func (k kept) act(ctx context.Context, t *terminal, doing, collection, name, verb string, request, answer proto.Message) error {
	id, err := idOf(collection, name)
	if err != nil {
		return err
	}
	client, err := k.client(t)
	if err != nil {
		return err
	}
	if err := client.Call(ctx, http.MethodPost, "/v1/"+collection+"/"+id+":"+verb, request, answer); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// client is a client with the session of whoever is signed in.
func (k kept) client(t *terminal) (*rest.Client, error) {
	file, err := k.file()
	if err != nil {
		return nil, err
	}
	s, err := session.Load(file)
	if err != nil {
		return nil, err
	}
	if !t.now().Before(s.Expires) {
		return nil, fmt.Errorf("the session of %s ended at %s: run carekeep sign-in", s.Username, s.Expires.Local().Format(time.DateTime))
	}
	client, err := rest.New(s.URL, s.Authority)
	if err != nil {
		return nil, err
	}
	return client.On(s.Device).For(k.Purpose).With(s.Token, func(d time.Duration) {
		t.note("too many requests; waiting for %s", d.Round(time.Second))
	}), nil
}

type signIn struct {
	kept
	URL      string `name:"url" required:"" placeholder:"URL" help:"Address of the gateway, as https://carekeep.example:8443."`
	CA       string `name:"ca" type:"existingfile" placeholder:"FILE" help:"Certificates of the gateway's authority in PEM; by default the system's."`
	Username string `required:"" placeholder:"NAME" help:"Your sign-in name."`
}

// Help says where the secrets come from.
func (signIn) Help() string {
	return "Password and one-time code are asked for at the terminal, or read from standard input, one a line. They are never arguments: " +
		"other users of the machine can read those."
}

// Run opens a session and keeps it.
func (c *signIn) Run(ctx context.Context, t *terminal) error {
	client, err := rest.New(c.URL, c.CA)
	if err != nil {
		return err
	}
	file, err := c.file()
	if err != nil {
		return err
	}
	device := session.Device(file, c.URL, c.Username)
	client = client.On(device)
	request := &authv1.SignInRequest{Username: c.Username}
	if request.Password, err = t.secret(ctx, "Password: "); err != nil {
		return err
	}
	if request.Password == "" {
		return errors.New("no password given: type it at the terminal, or send it as the first line of standard input")
	}
	if request.TotpCode, err = t.secret(ctx, "One-time code: "); err != nil {
		return err
	}
	var opened authv1.SignInResponse
	if err := client.Call(ctx, http.MethodPost, "/v1/auth:signIn", request, &opened); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	if missing := missingStep(opened.GetNextStep()); missing != nil {
		// Such a session can do nothing here; better not to leave it behind.
		return errors.Join(missing, signOutOf(ctx, client, opened.GetSessionToken()))
	}
	if c.CA != "" {
		if c.CA, err = filepath.Abs(c.CA); err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
	}
	if opened.GetDeviceToken() != "" {
		device = opened.GetDeviceToken()
	}
	expires := opened.GetExpireTime().AsTime()
	if err := session.Save(file, session.Session{
		URL: c.URL, Authority: c.CA, Username: c.Username, Token: opened.GetSessionToken(), Device: device, Expires: expires,
	}); err != nil {
		return errors.Join(err, signOutOf(ctx, client, opened.GetSessionToken()))
	}
	t.note("signed in as %s until %s; unused, the session ends at %s", c.Username,
		expires.Local().Format(time.DateTime), opened.GetIdleExpireTime().AsTime().Local().Format(time.DateTime))
	return nil
}

func missingStep(step authv1.NextStep) error {
	switch step {
	case authv1.NextStep_NEXT_STEP_VERIFY_TOTP:
		return errors.New("not signed in: the one-time code is missing; run carekeep sign-in again and give it")
	case authv1.NextStep_NEXT_STEP_VERIFY:
		return errors.New("not signed in: this user's second factor is none that the command line takes; enrol one-time codes (POST /v1/auth:enrolTotp)")
	case authv1.NextStep_NEXT_STEP_ENROL_TOTP:
		return errors.New("not signed in: this user has no one-time codes yet; enrol them in your front end first (POST /v1/auth:enrolTotp)")
	}
	return nil
}

func signOutOf(ctx context.Context, client *rest.Client, token string) error {
	err := client.With(token, nil).Call(ctx, http.MethodPost, "/v1/auth:signOut", &authv1.SignOutRequest{}, nil)
	if err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	return nil
}

type signOut struct{ kept }

// Run ends the session and forgets it, also where the server cannot be told: a token that lies about is worse.
func (c *signOut) Run(ctx context.Context, t *terminal) error {
	file, err := c.file()
	if err != nil {
		return err
	}
	s, err := session.Load(file)
	if err != nil {
		return err
	}
	if err := session.Remove(file); err != nil {
		return err
	}
	client, err := rest.New(s.URL, s.Authority)
	if err == nil {
		err = signOutOf(ctx, client.On(s.Device), s.Token)
	}
	refusal := (*rest.Refusal)(nil)
	switch {
	case errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized: // it had ended already
	case err != nil:
		return fmt.Errorf("the session is forgotten here, but the gateway does not know it; it ends by itself when it is not used: %w", err)
	}
	t.note("signed out")
	return nil
}
