// Package ready answers whether the gateway lives and whether it can serve. Its
// answers go to anybody, so they name services and nothing more.
package ready

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

const (
	timeout = 2 * time.Second
	// fresh is how long an answer holds, so that no stranger can multiply one
	// request into one for each service.
	fresh = time.Second
)

// Checker asks the services behind the gateway for their health.
type Checker struct {
	clients map[string]healthv1.HealthClient
	now     func() time.Time

	mu      sync.Mutex
	missing []string
	asked   time.Time
}

// New makes a checker over one connection for each service.
func New(conns map[accessv1.Service]grpc.ClientConnInterface, now func() time.Time) *Checker {
	c := &Checker{clients: map[string]healthv1.HealthClient{}, now: now}
	for service, conn := range conns {
		c.clients[access.ServiceName(service)] = healthv1.NewHealthClient(conn)
	}
	return c
}

// Handlers returns the handlers of /healthz and /readyz.
func (c *Checker) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		"/healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			write(w, http.StatusOK, report{Status: "alive"})
		}),
		"/readyz": http.HandlerFunc(c.serve),
	}
}

func (c *Checker) serve(w http.ResponseWriter, r *http.Request) {
	missing := c.Missing(r.Context())
	if len(missing) > 0 {
		edge.Of(r.Context()).Reason = "NOT_READY"
		write(w, http.StatusServiceUnavailable, report{Status: "not ready", Missing: missing})
		return
	}
	write(w, http.StatusOK, report{Status: "ready"})
}

type report struct {
	Status  string   `json:"status"`
	Missing []string `json:"missing,omitempty"`
}

func write(w http.ResponseWriter, status int, r report) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(r)
}

// Missing names the services that do not serve, in order.
func (c *Checker) Missing(ctx context.Context) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.asked.IsZero() || now.Sub(c.asked) >= fresh {
		// The answer is everybody's: one caller's hurry must not shorten the question.
		c.missing, c.asked = c.ask(context.WithoutCancel(ctx)), now
	}
	return c.missing
}

func (c *Checker) ask(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var (
		mu      sync.Mutex
		missing []string
		all     sync.WaitGroup
	)
	for name, client := range c.clients {
		all.Go(func() {
			answer, err := client.Check(ctx, &healthv1.HealthCheckRequest{})
			if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
				mu.Lock()
				defer mu.Unlock()
				missing = append(missing, name)
			}
		})
	}
	all.Wait()
	slices.Sort(missing)
	return missing
}
