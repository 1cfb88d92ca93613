// Package inbox receives the mail and text messages of a local stack and shows
// them on a page, so that invitations and alerts can be read with no provider.
// It is for one machine: it listens on loopback, trusts whoever reaches it, and
// is no mail server.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/emersion/go-smtp"
)

// Limits of one message and of what is kept.
const (
	MaxMailBytes  = 1 << 20
	MaxRecipients = 50
	// MaxSMSRunes is Twilio's limit of a message body.
	MaxSMSRunes = 1600
	// MaxKept is how many messages are kept; the oldest go first.
	MaxKept = 1000
)

// Options say where an inbox listens and keeps its messages.
type Options struct {
	// File keeps the messages, one JSON object a line; it is made if missing.
	File string
	// MailPort and WebPort are ports on 127.0.0.1; 0 takes a free one.
	MailPort int
	WebPort  int
	Log      *slog.Logger
	Now      func() time.Time
}

// Inbox is a running SMTP server with its page.
type Inbox struct {
	box  *box
	mail net.Listener
	web  net.Listener
	smtp *smtp.Server
	http *http.Server
	done chan error
}

// Start listens and serves until Close.
func Start(opts Options) (*Inbox, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	b, err := openBox(opts.File, opts.Now)
	if err != nil {
		return nil, err
	}
	mail, err := listen(opts.MailPort)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inbox: mail: %w", err), b.close())
	}
	web, err := listen(opts.WebPort)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inbox: page: %w", err), mail.Close(), b.close())
	}
	in := &Inbox{box: b, mail: mail, web: web, smtp: mailServer(b, opts.Log), http: webServer(b, opts.Log), done: make(chan error, 2)}
	go func() { in.done <- in.smtp.Serve(mail) }()
	go func() { in.done <- in.http.Serve(web) }()
	return in, nil
}

// MailAddr is host and port of the SMTP server.
func (in *Inbox) MailAddr() *net.TCPAddr { return in.mail.Addr().(*net.TCPAddr) }

// URL is the address of the page.
func (in *Inbox) URL() string { return "http://" + in.web.Addr().String() }

// Messages are the kept messages, newest first.
func (in *Inbox) Messages() []Message { return in.box.newestFirst() }

// Close stops both servers and waits for them.
func (in *Inbox) Close(ctx context.Context) error {
	err := errors.Join(in.smtp.Shutdown(ctx), in.http.Shutdown(ctx))
	// A server that had not begun to accept does not know its listener yet.
	for _, l := range []net.Listener{in.mail, in.web} {
		if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	for range 2 {
		if e := <-in.done; e != nil && !errors.Is(e, http.ErrServerClosed) && !errors.Is(e, smtp.ErrServerClosed) && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, in.box.close())
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
