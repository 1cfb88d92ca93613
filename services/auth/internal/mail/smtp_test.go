package mail_test

import (
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/services/auth/internal/mail"
)

// backend takes everything and keeps the last message.
type backend struct {
	text    chan string
	refuses bool
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &exchange{b}, nil }

type exchange struct{ *backend }

func (e *exchange) Mail(string, *smtp.MailOptions) error { return nil }
func (e *exchange) Reset()                               {}
func (e *exchange) Logout() error                        { return nil }

func (e *exchange) Rcpt(to string, _ *smtp.RcptOptions) error {
	if e.refuses {
		return &smtp.SMTPError{Code: 550, Message: "no such user " + to}
	}
	return nil
}

func (e *exchange) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	e.text <- string(raw)
	return err
}

// serve runs a mail server; with a nil configuration it offers no TLS.
func serve(t *testing.T, b *backend, cfg *tls.Config, implicit bool) mail.Config {
	t.Helper()
	server := smtp.NewServer(b)
	server.Domain, server.TLSConfig = "localhost", cfg
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	if implicit {
		listener = tls.NewListener(listener, cfg)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return mail.Config{Host: "127.0.0.1", Port: number, From: "carekeep <no-reply@example.org>", TLS: mail.TLSRequired}
}

var message = mail.Message{To: "bob@example.org", Subject: "Your invitation", Text: "token cki_secret"}

func TestMailGoesOverTLSOrNotAtAll(t *testing.T) {
	t.Parallel()
	authority := ca.ForTest(t)
	files, err := authority.Issue("mail")
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	require.NoError(t, err)
	offered := &tls.Config{Certificates: []tls.Certificate{pair}}

	send := func(c mail.Config) error {
		sender, err := mail.NewSMTP(c)
		require.NoError(t, err)
		return sender.Send(t.Context(), "id-1", message)
	}
	b := &backend{text: make(chan string, 4)}
	withTLS := serve(t, b, offered, false)
	require.Error(t, send(withTLS), "an authority that we do not know")
	withTLS.Authorities = files.Authorities
	require.NoError(t, send(withTLS))
	text := <-b.text
	require.Contains(t, text, "Message-ID: <id-1@carekeep>")
	require.Contains(t, text, "To: <bob@example.org>")

	implicit := serve(t, b, offered, true)
	implicit.TLS, implicit.Authorities = mail.TLSImplicit, files.Authorities
	require.NoError(t, send(implicit))
	<-b.text

	plain := serve(t, b, nil, false)
	require.Error(t, send(plain), "a server without STARTTLS gets nothing")
	require.Empty(t, b.text)
	plain.TLS = mail.TLSNoneLocal
	require.NoError(t, send(plain), "but on this machine, where the configuration says so")
}

func TestErrorsDoNotNameTheRecipient(t *testing.T) {
	t.Parallel()
	c := serve(t, &backend{refuses: true}, nil, false)
	c.TLS = mail.TLSNoneLocal
	sender, err := mail.NewSMTP(c)
	require.NoError(t, err)
	err = sender.Send(t.Context(), "id-1", message)
	require.ErrorContains(t, err, "550")
	require.NotContains(t, err.Error(), "bob")
}

func TestConfigurationRefusesMailInTheClear(t *testing.T) {
	t.Parallel()
	good := mail.Config{Host: "smtp.example.org", Port: 587, From: "a@example.org", TLS: mail.TLSRequired}
	require.NoError(t, good.Validate())
	for want, change := range map[string]func(*mail.Config){
		"loopback":        func(c *mail.Config) { c.TLS = mail.TLSNoneLocal },
		"tls: must be":    func(c *mail.Config) { c.TLS = "" },
		"port":            func(c *mail.Config) { c.Port = 0 },
		"in the clear":    func(c *mail.Config) { c.TLS, c.Host, c.Username = mail.TLSNoneLocal, "127.0.0.1", "me" },
		"failed to parse": func(c *mail.Config) { c.From = "nobody" },
	} {
		c := good
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}
