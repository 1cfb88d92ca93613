package testkit

import (
	"context"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// Inbox is a mail server that keeps what it gets.
type Inbox struct {
	t        testing.TB
	listener net.Listener
	server   *smtp.Server

	mu   sync.Mutex
	mail []Mail
	down bool
}

// Mail is one received message.
type Mail struct {
	To   string
	Text string // with headers
}

func newInbox(t testing.TB) *Inbox {
	i := &Inbox{t: t}
	i.server = smtp.NewServer(i)
	i.server.Domain = "localhost"
	var err error
	i.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = i.server.Serve(i.listener) }()
	t.Cleanup(func() { _ = i.server.Close() })
	return i
}

// Address is host:port.
func (i *Inbox) Address() string { return i.listener.Addr().String() }

// Refuse makes the server answer every message with a temporary failure, or stop doing so.
func (i *Inbox) Refuse(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// NewSession implements smtp.Backend.
func (i *Inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{inbox: i}, nil }

// Messages are the mails to an address.
func (i *Inbox) Messages(to string) []Mail {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []Mail
	for _, m := range i.mail {
		if m.To == to {
			found = append(found, m)
		}
	}
	return found
}

var invitation = regexp.MustCompile(`cki_[A-Za-z0-9_-]{43}`)

// Invitation waits for the n-th mail to the address and takes the token out of it.
func (i *Inbox) Invitation(to string, n int) string {
	i.t.Helper()
	var list []Mail
	require.Eventually(i.t, func() bool { list = i.Messages(to); return len(list) >= n }, 20*time.Second, 10*time.Millisecond,
		"no mail to %s", to)
	text := plain(list[n-1])
	token := invitation.FindString(text)
	require.NotEmpty(i.t, token, "no token in %q", text)
	return token
}

// plain is the text of a mail: quoted-printable breaks long lines with "=".
func plain(m Mail) string {
	return strings.ReplaceAll(strings.ReplaceAll(m.Text, "=\r\n", ""), "=3D", "=")
}

// Told waits until a mail to the address says this.
func (i *Inbox) Told(to, text string) {
	i.t.Helper()
	require.Eventually(i.t, func() bool {
		return slices.ContainsFunc(i.Messages(to), func(m Mail) bool { return strings.Contains(plain(m), text) })
	}, 20*time.Second, 10*time.Millisecond, "%s was not told: %s", to, text)
}

var mailed = regexp.MustCompile(`Your code is ([0-9]{8})`)

// Code waits for the n-th mail to the address that holds a one-time code and takes the code out of it.
func (i *Inbox) Code(to string, n int) string {
	i.t.Helper()
	var found []string
	require.Eventually(i.t, func() bool {
		found = nil
		for _, m := range i.Messages(to) {
			if match := mailed.FindStringSubmatch(m.Text); match != nil {
				found = append(found, match[1])
			}
		}
		return len(found) >= n
	}, 20*time.Second, 10*time.Millisecond, "no code to %s", to)
	return found[n-1]
}

type delivery struct {
	inbox *Inbox
	to    string
}

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.inbox.mu.Lock()
	defer d.inbox.mu.Unlock()
	if d.inbox.down {
		return &smtp.SMTPError{Code: 451, Message: "try later, " + to}
	}
	d.to = to
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.inbox.mu.Lock()
	defer d.inbox.mu.Unlock()
	d.inbox.mail = append(d.inbox.mail, Mail{To: d.to, Text: string(raw)})
	return nil
}

func (d *delivery) Reset()        {}
func (d *delivery) Logout() error { return nil }
