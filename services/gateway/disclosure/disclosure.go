// Package disclosure tells who finds a vulnerability where to report it and what they may
// expect: security.txt (RFC 9116) and the policy page with its safe harbour (claims DMD-34, DH-56,
// DC-26). The reports themselves go through the API to the audit service.
package disclosure

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

const (
	textPath   = "/.well-known/security.txt"
	policyPath = "/security-policy"
	// valid is how long what was reviewed holds: less than the year that RFC 9116, 2.5.5 recommends.
	valid = 364 * 24 * time.Hour
	// remind is how long before its end the log asks for a review.
	remind = 30 * 24 * time.Hour
)

// Config is what only the installation knows. All of it is required: without it a
// finder would have nobody to turn to.
type Config struct {
	// URL is where clients reach the gateway, such as https://api.clinic.example.
	URL string `yaml:"url" config:"required"`
	// Contacts are mailto: addresses and https: pages, the preferred one first.
	Contacts []string `yaml:"contacts" config:"required"`
	// Languages are those in which reports are read, as RFC 5646 tags.
	Languages []string `yaml:"languages" config:"required"`
	// Reviewed is the day, as YYYY-MM-DD, on which somebody last saw to it that the contacts
	// answer and the policy holds. security.txt ends 364 days later.
	Reviewed string `yaml:"reviewed" config:"required"`
}

var tag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// Validate refuses what would make a file that no tool reads or a contact that nobody reaches.
func (c Config) Validate() error {
	var problems []error
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != c.URL {
		problems = append(problems, fmt.Errorf("disclosure.url: %q is not an origin such as https://api.clinic.example", c.URL))
	}
	if len(c.Contacts) == 0 {
		problems = append(problems, errors.New("disclosure.contacts: name one at least, such as mailto:security@clinic.example"))
	}
	for _, contact := range c.Contacts {
		if !reachable(contact) {
			problems = append(problems, fmt.Errorf("disclosure.contacts: %q is neither like mailto:security@clinic.example nor an https: page", contact))
		}
	}
	if len(c.Languages) == 0 {
		problems = append(problems, errors.New("disclosure.languages: name one at least, such as en"))
	}
	for _, language := range c.Languages {
		if !tag.MatchString(language) {
			problems = append(problems, fmt.Errorf("disclosure.languages: %q is no language tag such as en", language))
		}
	}
	if _, err := time.Parse(time.DateOnly, c.Reviewed); err != nil {
		problems = append(problems, fmt.Errorf("disclosure.reviewed: %q is no day such as 2026-11-27", c.Reviewed))
	}
	return errors.Join(problems...)
}

func reachable(contact string) bool {
	u, err := url.Parse(contact)
	if err != nil || strings.ContainsAny(contact, " \r\n\t") {
		return false
	}
	if u.Scheme == "mailto" {
		address, err := mail.ParseAddress(u.Opaque)
		return err == nil && address.Address == u.Opaque
	}
	return u.Scheme == "https" && u.Host != ""
}

//go:embed policy.html
var policy string

var page = template.Must(template.New("policy").Parse(policy))

// Handlers returns the handlers of security.txt and of the policy by their paths. A review in the
// future is refused; one that is too long ago is served, as ended as it says it is, and logged.
func Handlers(c Config, log *slog.Logger, now time.Time) (map[string]http.Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	reviewed, err := time.Parse(time.DateOnly, c.Reviewed)
	if err != nil {
		return nil, err
	}
	if reviewed.After(now.Add(24 * time.Hour)) { // it may be tomorrow somewhere
		return nil, fmt.Errorf("disclosure.reviewed: %s is in the future, so nobody reviewed anything then", c.Reviewed)
	}
	expires := reviewed.Add(valid)
	if now.Add(remind).After(expires) {
		log.Warn("security.txt ends soon or has ended: look whether contacts and policy hold, and set disclosure.reviewed",
			telemetry.KeyReason, "REVIEW_DUE")
	}
	var html bytes.Buffer
	if err := page.Execute(&html, c); err != nil {
		return nil, fmt.Errorf("policy page: %w", err)
	}
	return map[string]http.Handler{
		textPath:   document{kind: "text/plain; charset=utf-8", policy: edge.NoContent, data: text(c, expires)},
		policyPath: document{kind: "text/html; charset=utf-8", policy: edge.AccountPages, data: html.Bytes()},
	}, nil
}

// text is the file of RFC 9116, section 2.
func text(c Config, expires time.Time) []byte {
	var out bytes.Buffer
	for _, contact := range c.Contacts {
		fmt.Fprintf(&out, "Contact: %s\n", contact)
	}
	fmt.Fprintf(&out, "Expires: %s\n", expires.UTC().Format(time.RFC3339))
	fmt.Fprintf(&out, "Preferred-Languages: %s\n", strings.Join(c.Languages, ", "))
	fmt.Fprintf(&out, "Canonical: %s%s\n", c.URL, textPath)
	fmt.Fprintf(&out, "Policy: %s%s\n", c.URL, policyPath)
	return out.Bytes()
}

// document is bytes of a type.
type document struct {
	kind   string
	policy edge.Policy
	data   []byte
}

func (d document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	d.policy.Apply(w)
	w.Header().Set("Content-Type", d.kind)
	// A client that is gone needs no document.
	_, _ = w.Write(d.data)
}
