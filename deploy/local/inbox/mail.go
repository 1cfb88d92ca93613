package inbox

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

func mailServer(b *box, log *slog.Logger) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &envelope{box: b, log: log}, nil
	}))
	s.Domain = "localhost"
	s.MaxMessageBytes = MaxMailBytes
	s.MaxRecipients = MaxRecipients
	s.ReadTimeout, s.WriteTimeout = 30*time.Second, 30*time.Second
	s.EnableSMTPUTF8 = true
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return s
}

// envelope is one SMTP conversation.
type envelope struct {
	box  *box
	log  *slog.Logger
	from string
	to   []string
}

func (e *envelope) Reset()        { e.from, e.to = "", nil }
func (e *envelope) Logout() error { return nil }

func (e *envelope) Mail(from string, _ *smtp.MailOptions) error {
	e.from = from
	return nil
}

func (e *envelope) Rcpt(to string, _ *smtp.RcptOptions) error {
	e.to = append(e.to, to)
	return nil
}

func (e *envelope) Data(r io.Reader) error {
	m, err := parseMail(r)
	if smtpErr := (*smtp.SMTPError)(nil); errors.As(err, &smtpErr) {
		return smtpErr // the size limit's own answer
	}
	if err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "the message cannot be read: " + err.Error()}
	}
	m.From, m.To = e.from, e.to
	if _, err := e.box.add(m); err != nil {
		e.log.Warn("a mail was not kept", "error", err)
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the message could not be kept, try again"}
	}
	return nil
}

func parseMail(r io.Reader) (Message, error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return Message{}, fmt.Errorf("headers: %w", err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		subject = m.Header.Get("Subject")
	}
	text, _, err := plainText(textproto.MIMEHeader(m.Header), m.Body, 0)
	if err != nil {
		return Message{}, err
	}
	return Message{Kind: "mail", Subject: tidy(subject), Text: tidy(text)}, nil
}

// plainText finds the first text/plain part, however deep; a mail without one
// gives its first part of any text type.
func plainText(header textproto.MIMEHeader, body io.Reader, depth int) (text string, plain bool, err error) {
	if depth > 4 {
		return "", false, errors.New("parts are nested too deep")
	}
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if !strings.HasPrefix(kind, "multipart/") {
		text, err := decode(header.Get("Content-Transfer-Encoding"), body)
		if !strings.HasPrefix(kind, "text/") {
			text = "[attachment " + kind + "]"
		}
		return text, kind == "text/plain", err
	}
	parts := multipart.NewReader(body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return text, false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("parts: %w", err)
		}
		found, isPlain, err := plainText(part.Header, part, depth+1)
		if err != nil || isPlain {
			return found, isPlain, err
		}
		if text == "" {
			text = found
		}
	}
}

func decode(encoding string, body io.Reader) (string, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(body); err != nil {
		return "", fmt.Errorf("body: %w", err)
	}
	return out.String(), nil
}

func tidy(text string) string {
	return strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n"))
}
