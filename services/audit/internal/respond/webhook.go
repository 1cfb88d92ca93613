package respond

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// actionTell is the one thing that webhooks are for.
const actionTell = "tell"

// WebhookOptions describe one receiver.
type WebhookOptions struct {
	Name string // in the log and in alerts
	URL  string // https
	// Secret signs: "whsec_" and the base64 of 24 to 64 bytes, as Standard Webhooks spells it.
	Secret string
	// Risk is the least that is told.
	Risk string
	// AllowNetworks are private networks that the receiver may be in.
	AllowNetworks []string
	// Authorities is a PEM file of those who may vouch for the receiver, in place of the system's; empty for the system's.
	Authorities string
	Now         func() time.Time
}

// Webhook tells a receiver of detections, in the form of Standard Webhooks 1.0.
type Webhook struct {
	name   string
	url    string
	risk   auditv1.Risk
	signer *standardwebhooks.Webhook
	client *http.Client
	now    func() time.Time
}

// NewWebhook checks the options and makes the target.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("url must be https://host/path, without a password or fragment")
	}
	risk, ok := riskOf(o.Risk)
	if !ok {
		return nil, fmt.Errorf("risk must be LOW, MEDIUM, HIGH or CRITICAL, not %q", o.Risk)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(o.Secret, "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("secret must be whsec_ and the base64 of 24 to 64 random bytes")
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, err
	}
	reach, err := newReach(o.AllowNetworks)
	if err != nil {
		return nil, err
	}
	pool, err := authorities(o.Authorities)
	if err != nil {
		return nil, err
	}
	return &Webhook{name: o.Name, url: o.URL, risk: risk, signer: signer, now: o.Now, client: &http.Client{
		Transport: &http.Transport{
			// No proxy: it would resolve the name where nobody checks the address.
			DialContext:     (&net.Dialer{Timeout: tryTimeout, Control: reach.control}).DialContext,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: 16 << 10, IdleConnTimeout: time.Minute,
		},
		// A redirect would take the detection to where nobody has set it up to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("authorities: %s holds no certificate", file)
	}
	return pool, nil
}

// Name implements Target.
func (t *Webhook) Name() string { return "webhook/" + t.name }

// Urgent implements Target: the log, the list of alerts and mail tell of it meanwhile.
func (t *Webhook) Urgent() bool { return false }

// Actions implements Target.
func (t *Webhook) Actions(a store.Answerable) []string {
	if auditv1.Risk(a.Risk) < t.risk {
		return nil
	}
	return []string{actionTell}
}

// Do implements Target. The receiver tells repetitions by the id.
func (t *Webhook) Do(ctx context.Context, a store.Answerable, _ string) error {
	body, err := payload(a)
	if err != nil {
		return err
	}
	now, id := t.now(), "detection_"+a.ID.String()
	signature, err := t.signer.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the url cannot be asked") // the error itself would quote it
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "carekeep-audit")
	r.Header.Set(standardwebhooks.HeaderWebhookID, id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	response, err := t.client.Do(r)
	if err != nil {
		// Without the URL, whose path is often a secret of its own.
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("webhook %s cannot be reached: %w", t.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection is used again
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("webhook %s answered %d", t.name, response.StatusCode)
	}
	return nil
}

// payload is a detection as receivers get it. Of a patient there is the id, and nothing else.
func payload(a store.Answerable) ([]byte, error) {
	type data struct {
		ID       string   `json:"id"`
		Rule     string   `json:"rule"`
		Title    string   `json:"title"`
		Risk     string   `json:"risk"`
		Count    int32    `json:"count"`
		Seq      int64    `json:"seq"`
		FirstSeq int64    `json:"first_seq"`
		Practice string   `json:"practice_id,omitempty"`
		User     string   `json:"user_id,omitempty"`
		Patient  string   `json:"patient_id,omitempty"`
		Session  string   `json:"session_id,omitempty"`
		Device   string   `json:"device_id,omitempty"`
		Address  string   `json:"address,omitempty"`
		Actions  []string `json:"actions"`
	}
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}{"detection.created", a.Time, data{
		ID: a.ID.String(), Rule: a.Rule, Title: a.Title, Risk: strings.TrimPrefix(auditv1.Risk(a.Risk).String(), "RISK_"), Count: a.Count,
		Seq: a.Seq, FirstSeq: a.FirstSeq, Practice: idOf(a.Practice), User: idOf(a.User), Patient: idOf(a.Patient), Session: idOf(a.Session),
		Device: idOf(a.Device), Address: a.Address, Actions: a.Actions,
	}})
	if err != nil {
		return nil, fmt.Errorf("spell a detection: %w", err)
	}
	return body, nil
}

func idOf(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// reach says which addresses webhooks may go to.
type reach struct{ allowed []netip.Prefix }

// notPublic are what IsGlobalUnicast takes for public: shared, reserved, documentation and benchmark networks
// (RFC 6890), and IPv6 networks that hold IPv4 addresses.
var notPublic = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10")

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, p := range list {
		all[i] = netip.MustParsePrefix(p)
	}
	return all
}

func newReach(allow []string) (*reach, error) {
	r := &reach{}
	for _, text := range allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("allow_networks: %q is no network such as 10.1.0.0/16", text)
		}
		r.allowed = append(r.allowed, p.Masked())
	}
	return r, nil
}

var errPrivate = errors.New("the receiver's address is not public; name its network in allow_networks")

// control refuses an address after the name was resolved and before anything is sent.
func (r *reach) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !r.allows(at.Addr()) {
		return errPrivate
	}
	return nil
}

func (r *reach) allows(ip netip.Addr) bool {
	if ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	within := func(list []netip.Prefix) bool {
		for _, p := range list {
			if p.Contains(ip) {
				return true
			}
		}
		return false
	}
	return within(r.allowed) || ip.IsGlobalUnicast() && !ip.IsPrivate() && !within(notPublic)
}
