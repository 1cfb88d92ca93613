package seed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/stack"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
)

// seeder holds what seeding needs while it runs.
type seeder struct {
	place    *stack.Place
	people   *Credentials
	sessions map[string]*api.Client
}

// Run brings practices and people into being where they are missing. What is
// there already stays; a seeding that broke off goes on where it was.
func Run(ctx context.Context, place *stack.Place) (*Credentials, error) {
	people, err := load(place.Credentials())
	if err != nil || people.ready() {
		return people, err
	}
	s := &seeder{place: place, people: people, sessions: map[string]*api.Client{}}
	if err := s.choose(); err != nil {
		return nil, err
	}
	for _, do := range []func(context.Context) error{s.superadmin, s.practices, s.users, s.assign} {
		if err := do(ctx); err != nil {
			return nil, fmt.Errorf("seed: %w", err)
		}
	}
	for _, p := range people.People {
		p.Ready = true
	}
	return people, people.save()
}

// choose picks the passwords before anybody gets one, so that a seeding that
// breaks off never leaves a user with a password that nobody knows.
func (s *seeder) choose() error {
	if len(s.people.People) > 0 {
		return nil
	}
	s.people.People = people()
	for _, p := range s.people.People {
		p.Password = rand.Text()
	}
	return s.people.save()
}

// superadmin is made by the command line of auth, which works only on an
// installation that has none, and prints the invitation.
func (s *seeder) superadmin(ctx context.Context) error {
	p := s.people.Person(Superadmin)
	if p.User != "" {
		return nil
	}
	bootstrap := exec.CommandContext(ctx, s.place.Binary("auth"), "bootstrap", "--config", s.place.ConfigFile("auth"),
		"--username", p.Username, "--email", p.Email)
	var complaint bytes.Buffer
	bootstrap.Stderr = &complaint
	out, err := bootstrap.Output()
	// A seeding that broke off may have come this far: then the password is known already.
	if err != nil && !strings.Contains(complaint.String(), "superadmin already") {
		return fmt.Errorf("auth bootstrap: %w\n%s", err, complaint.String())
	}
	return s.join(ctx, p, string(bytes.TrimSpace(out)))
}

func (s *seeder) practices(ctx context.Context) error {
	for practice, admin := range map[string]string{Riverside: Admin, Hillside: HillsideAdmin} {
		p := s.people.Person(admin)
		if p.User != "" {
			continue
		}
		superadmin, err := s.as(ctx, Superadmin)
		if err != nil {
			return err
		}
		var made authv1.Practice
		err = superadmin.Call(ctx, http.MethodPost, "/v1/practices", &authv1.CreatePracticeRequest{
			DisplayName: practice, AdminUsername: p.Username, AdminEmail: p.Email, RequestId: requestID(practice),
		}, &made)
		if err != nil {
			return err
		}
		s.people.Practices[practice] = made.GetName()
		if err := s.invited(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *seeder) users(ctx context.Context) error {
	for _, p := range s.people.People {
		if p.User != "" {
			continue
		}
		admin, err := s.as(ctx, map[string]string{Riverside: Admin, Hillside: HillsideAdmin}[p.Practice])
		if err != nil {
			return err
		}
		err = admin.Call(ctx, http.MethodPost, "/v1/users", &authv1.CreateUserRequest{
			Username: p.Username, DisplayName: p.DisplayName, Email: p.Email, Role: p.Role, Template: p.Template, RequestId: requestID(p.Username),
		}, nil)
		if err != nil {
			return err
		}
		if err := s.invited(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// assign lets receptionist and nurse act for Dr. Smith, and for nobody else.
func (s *seeder) assign(ctx context.Context) error {
	doctor := s.people.Person(Smith)
	admin, err := s.as(ctx, Admin)
	if err != nil {
		return err
	}
	for _, member := range []string{Receptionist, Nurse} {
		err := admin.Call(ctx, http.MethodPost, "/v1/"+doctor.User+"/staff", &authv1.AssignStaffRequest{User: s.people.Person(member).User}, nil)
		if refusal := (*api.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == codes.AlreadyExists {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// invited lets the person join with the invitation that came by mail.
func (s *seeder) invited(ctx context.Context, p *Person) error {
	invitation, err := invitation(ctx, s.place, p.Email)
	if err != nil {
		return err
	}
	return s.join(ctx, p, invitation)
}

// join accepts an invitation, sets the password and enrols the second factor.
func (s *seeder) join(ctx context.Context, p *Person, invitation string) error {
	client, err := Client(s.place, p)
	if err != nil {
		return err
	}
	session, err := firstSession(ctx, client, p, invitation)
	if err != nil {
		return err
	}
	client = client.With(session.GetSessionToken())
	if session.GetAssurance() < accessv1.Assurance_ASSURANCE_AAL2 {
		if session, err = s.enrol(ctx, client, p); err != nil {
			return err
		}
		client = client.With(session.GetSessionToken())
	}
	s.sessions[p.Username] = client
	p.User = session.GetUser()
	return s.people.save()
}

// firstSession accepts the invitation or, where a seeding broke off after that, signs in.
func firstSession(ctx context.Context, client *api.Client, p *Person, invitation string) (*authv1.SignInResponse, error) {
	var session authv1.SignInResponse
	if invitation != "" {
		request := &authv1.AcceptInvitationRequest{InvitationToken: invitation, Password: p.Password}
		err := client.Call(ctx, http.MethodPost, "/v1/auth:acceptInvitation", request, &session)
		if err == nil {
			return &session, nil
		}
		if refusal := (*api.Refusal)(nil); !errors.As(err, &refusal) || refusal.Code != codes.Unauthenticated {
			return nil, fmt.Errorf("%s: %w", p.Username, err)
		}
	}
	if p.TotpSecret != "" {
		if session, err := client.SignIn(ctx, p.Username, p.Password, p.TotpSecret); err == nil {
			return session, nil
		}
	}
	err := client.Call(ctx, http.MethodPost, "/v1/auth:signIn", &authv1.SignInRequest{Username: p.Username, Password: p.Password}, &session)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; if the data folder holds parts of two stacks, remove it", p.Username, err)
	}
	return &session, nil
}

func (s *seeder) enrol(ctx context.Context, client *api.Client, p *Person) (*authv1.SignInResponse, error) {
	var enrolment authv1.EnrolTotpResponse
	if err := client.Call(ctx, http.MethodPost, "/v1/auth:enrolTotp", &authv1.EnrolTotpRequest{}, &enrolment); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Username, err)
	}
	p.TotpSecret = enrolment.GetSecret()
	if err := s.people.save(); err != nil {
		return nil, err
	}
	session, err := confirm(ctx, client, p.TotpSecret)
	if refusal := (*api.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == codes.Unauthenticated {
		// A step ended while the code was on its way, which made it too old.
		session, err = confirm(ctx, client, p.TotpSecret)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Username, err)
	}
	return session, nil
}

// confirm gives the code of the step before, which is still taken, and leaves the
// current one for the first sign-in: no code counts twice.
func confirm(ctx context.Context, client *api.Client, secret string) (*authv1.SignInResponse, error) {
	code, err := api.Code(secret, time.Now().Add(-api.Step))
	if err != nil {
		return nil, err
	}
	var session authv1.SignInResponse
	err = client.Call(ctx, http.MethodPost, "/v1/auth:confirmTotp", &authv1.ConfirmTotpRequest{TotpCode: code}, &session)
	return &session, err
}

// as gives a client with a session of somebody who has joined.
func (s *seeder) as(ctx context.Context, username string) (*api.Client, error) {
	if client := s.sessions[username]; client != nil {
		return client, nil
	}
	client, err := SignIn(ctx, s.place, s.people.Person(username))
	if err == nil {
		s.sessions[username] = client
	}
	return client, err
}

// SignIn opens a session with both factors, from the person's own device.
func SignIn(ctx context.Context, place *stack.Place, p *Person) (*api.Client, error) {
	client, err := Client(place, p)
	if err != nil {
		return nil, err
	}
	session, err := client.SignIn(ctx, p.Username, p.Password, p.TotpSecret)
	if err != nil {
		return nil, err
	}
	return client.With(session.GetSessionToken()), nil
}

// Client speaks to the gateway from the person's device, without a session and for what
// the person usually does.
func Client(place *stack.Place, p *Person) (*api.Client, error) {
	client, err := place.ClientFrom(p.Address)
	if err != nil {
		return nil, err
	}
	return api.New(place.URL(), client).For(p.purpose()), nil
}

// requestID is the same for the same thing, so that repeating a request changes nothing.
func requestID(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("carekeep seed "+name)).String()
}
