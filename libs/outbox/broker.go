package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/carekeep/carekeep/libs/mtls"
)

// Broker says where NATS is. There is no user and no password: our certificate
// says who we are, and the broker's permissions what we may publish.
type Broker struct {
	URL string `yaml:"url" config:"required"` // tls://host:4222
	// Stream is the JetStream stream that the audit store keeps; default AUDIT.
	Stream string `yaml:"stream"`
	// HeartbeatSeconds is how often a relay tells the audit store what it should have; default 10,
	// at most 20, since a service that is silent for 60 is reported.
	HeartbeatSeconds int `yaml:"heartbeat_seconds"`
}

// DefaultStream is the stream that holds subjects audit.events.>.
const DefaultStream = "AUDIT"

const reconnectWait = 500 * time.Millisecond

const defaultHeartbeat, slowestHeartbeat = 10, 20 // seconds

// Validate implements config.Validator.
func (b *Broker) Validate() error {
	if b.Stream == "" {
		b.Stream = DefaultStream
	}
	if b.HeartbeatSeconds == 0 {
		b.HeartbeatSeconds = defaultHeartbeat
	}
	if b.HeartbeatSeconds < 1 || b.HeartbeatSeconds > slowestHeartbeat {
		return fmt.Errorf("heartbeat_seconds must be 1 to %d, or left out for %d", slowestHeartbeat, defaultHeartbeat)
	}
	u, err := url.Parse(b.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "tls" {
		return errors.New("url must be tls://host:port: the broker is reached over TLS only")
	}
	if u.User != nil {
		return errors.New("url must hold no user: the certificate says who we are")
	}
	return nil
}

// Connect opens a connection that stays: it keeps trying while the broker is
// away, from the first moment on. Name is the service; its inbox is the only
// one that the broker lets it read.
func Connect(b Broker, tls *mtls.Source, name string, log *slog.Logger) (*nats.Conn, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	u, err := url.Parse(b.URL)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	conn, err := nats.Connect(b.URL,
		nats.Name("carekeep-"+name),
		nats.Secure(tls.PlainClientTLS(u.Hostname())),
		nats.CustomInboxPrefix(InboxPrefix(name)),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		// What cannot be sent now stays in the outbox, not in a buffer.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("broker connection lost; events wait in the outbox", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("broker connected again", "address", c.ConnectedAddr()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("broker", "error", err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", b.URL, err)
	}
	return conn, nil
}

// InboxPrefix is where answers to a service's requests go.
func InboxPrefix(service string) string { return "_INBOX_" + service }

// EventSubject is where a service publishes its events.
func EventSubject(service string) string { return "audit.events." + service }

// ReceiptSubject is where the audit store acknowledges them.
func ReceiptSubject(service string) string { return "audit.receipts." + service }

// HeartbeatSubject is where a service's relays say what the audit store should have.
func HeartbeatSubject(service string) string { return "audit.heartbeats." + service }

// HeartbeatOf is the service behind a heartbeat subject, "" for any other subject.
func HeartbeatOf(subject string) string {
	service, _ := strings.CutPrefix(subject, "audit.heartbeats.")
	if service == subject {
		return ""
	}
	return service
}

// ServiceOf is the service behind an event subject, "" for any other subject.
func ServiceOf(subject string) string {
	service, ok := strings.CutPrefix(subject, "audit.events.")
	if !ok {
		return ""
	}
	return service
}
