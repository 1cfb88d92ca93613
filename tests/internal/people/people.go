// Package people signs the seeded people of a local stack in, for tests and
// benchmarks that act over REST.
package people

import (
	"context"
	"fmt"
	"sync"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/deploy/local/stack"
)

// People are the seeded users of one stack. A session is opened once for each.
type People struct {
	place *stack.Place
	*seed.Credentials

	mu       sync.Mutex
	sessions map[string]*api.Client
	tokens   map[string]string
}

// Seed brings the people into being.
func Seed(ctx context.Context, place *stack.Place) (*People, error) {
	credentials, err := seed.Run(ctx, place)
	if err != nil {
		return nil, err
	}
	return &People{place: place, Credentials: credentials, sessions: map[string]*api.Client{}, tokens: map[string]string{}}, nil
}

// As returns a client with an AAL2 session of the person.
func (p *People) As(ctx context.Context, username string) (*api.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if client := p.sessions[username]; client != nil {
		return client, nil
	}
	person := p.Person(username)
	if person == nil {
		return nil, fmt.Errorf("nobody is called %s", username)
	}
	client, err := seed.Client(p.place, person)
	if err != nil {
		return nil, err
	}
	session, err := client.SignIn(ctx, person.Username, person.Password, person.TotpSecret)
	if err != nil {
		return nil, err
	}
	p.tokens[username] = session.GetSessionToken()
	p.sessions[username] = client.With(session.GetSessionToken())
	return p.sessions[username], nil
}

// Token is the session token of a person who is signed in, for requests that the
// client cannot make.
func (p *People) Token(username string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens[username]
}
