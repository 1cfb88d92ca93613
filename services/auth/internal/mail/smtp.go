package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	gomail "github.com/wneessen/go-mail"

	"github.com/carekeep/carekeep/libs/config"
)

// How the connection to the mail server is protected.
const (
	// TLSRequired upgrades with STARTTLS and sends nothing where the server does not offer it.
	TLSRequired = "required"
	// TLSImplicit speaks TLS from the first byte.
	TLSImplicit = "implicit"
	// TLSNoneLocal sends in the clear, and only to a loopback address: the local inbox.
	TLSNoneLocal = "none-local"
)

// Config says which mail server takes our mail.
type Config struct {
	Host string `yaml:"host" config:"required"`
	Port int    `yaml:"port" config:"required"`
	From string `yaml:"from" config:"required"`
	TLS  string `yaml:"tls" config:"required"`
	// Authorities is a PEM file with the authorities of the server; empty: those of the system.
	Authorities string        `yaml:"authorities" config:"path"`
	Username    string        `yaml:"username"`
	Password    config.Secret `yaml:"password"`
}

// Validate refuses mail in the clear that would leave the machine.
func (c Config) Validate() error {
	switch c.TLS {
	case TLSRequired, TLSImplicit:
	case TLSNoneLocal:
		if !loopback(c.Host) {
			return fmt.Errorf("tls: %s is allowed for a loopback host only, not for %s; use %s", TLSNoneLocal, c.Host, TLSRequired)
		}
	default:
		return fmt.Errorf("tls: must be %s, %s or %s", TLSRequired, TLSImplicit, TLSNoneLocal)
	}
	if c.Port < 1 || c.Port > 65535 {
		return errors.New("port: must be 1 to 65535")
	}
	if c.Username != "" && c.TLS == TLSNoneLocal {
		return errors.New("username: a password is not sent in the clear; use tls: " + TLSRequired)
	}
	return gomail.NewMsg().From(c.From)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// SMTP sends by SMTP.
type SMTP struct {
	config  Config
	options []gomail.Option
}

// NewSMTP makes a sender. It connects for each message.
func NewSMTP(c Config) (*SMTP, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	options := []gomail.Option{gomail.WithPort(c.Port), gomail.WithTimeout(sendTimeout)}
	switch c.TLS {
	case TLSNoneLocal:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	case TLSImplicit:
		options = append(options, gomail.WithSSL())
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	tlsConfig := &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}
	if c.Authorities != "" {
		raw, err := os.ReadFile(c.Authorities)
		if err != nil {
			return nil, fmt.Errorf("mail: authorities: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("mail: authorities: %s holds no PEM certificate", c.Authorities)
		}
	}
	options = append(options, gomail.WithTLSConfig(tlsConfig))
	if c.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(c.Username), gomail.WithPassword(c.Password.Value()))
	}
	return &SMTP{config: c, options: options}, nil
}

// Send delivers one message to the mail server. Errors name no recipient.
func (s *SMTP) Send(ctx context.Context, id string, m Message) error {
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := message.From(s.config.From); err != nil {
		return fmt.Errorf("mail: the sender's address is not valid: %w", err)
	}
	if err := message.To(m.To); err != nil {
		return errors.New("mail: the recipient's address is not valid")
	}
	message.SetMessageIDWithValue(id + "@carekeep")
	message.SetDate()
	message.Subject(m.Subject)
	message.SetBodyString(gomail.TypeTextPlain, m.Text)
	client, err := gomail.NewClient(s.config.Host, s.options...)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return clean(client.DialAndSendWithContext(ctx, message))
}

// clean keeps the server's answer, which may quote the recipient, out of logs.
func clean(err error) error {
	var sending *gomail.SendError
	if errors.As(err, &sending) {
		return fmt.Errorf("mail: the server refused the message: %s, code %d", sending.Reason, sending.ErrorCode())
	}
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}
