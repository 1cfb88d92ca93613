package sms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Message is one text message.
type Message struct {
	To   string `json:"to"`
	From string `json:"from"`
	Body string `json:"body"`
}

// Refusal is an answer of the provider that no further try will change.
type Refusal struct {
	// Code is the provider's, 0 where it gave none.
	Code int
}

// Error names no number.
func (r Refusal) Error() string {
	return "sms: the provider refused the message for good, code " + r.Reason()
}

// Reason is a stable name for the record of the message.
func (r Refusal) Reason() string { return "PROVIDER_" + strconv.Itoa(r.Code) }

// OptedOut says that the provider knows the recipient to have said stop.
func (r Refusal) OptedOut() bool { return r.Code == codeOptedOut }

const (
	codeOptedOut  = 21610    // "Attempt to send to unsubscribed recipient"
	maxAnswer     = 64 << 10 // bytes of the provider's answer that are read
	clientTimeout = 8 * time.Second
)

// Client sends by the provider's HTTP API.
type Client struct {
	endpoint       string
	account, token string
	http           *http.Client
}

// NewClient makes a client.
func NewClient(c Config) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Authorities != "" {
		raw, err := os.ReadFile(c.Authorities)
		if err != nil {
			return nil, fmt.Errorf("sms: authorities: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("sms: authorities: %s holds no PEM certificate", c.Authorities)
		}
	}
	return &Client{
		endpoint: strings.TrimSuffix(c.URL, "/") + "/2010-04-01/Accounts/" + c.Account + "/Messages.json",
		account:  c.Account, token: c.Token.Value(),
		// A redirect would carry the message, and maybe the token, elsewhere.
		http: &http.Client{Transport: transport, Timeout: clientTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}, nil
}

// Send hands one message to the provider. Errors name no number and quote nothing of the answer.
func (c *Client) Send(ctx context.Context, m Message) error {
	form := url.Values{"To": {m.To}, "From": {m.From}, "Body": {m.Body}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("sms: the provider's address is not valid")
	}
	request.SetBasicAuth(c.account, c.token)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("sms: the provider cannot be reached: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode/100 == 2 {
		return nil // it is sent, whatever becomes of the rest of the answer
	}
	if err != nil {
		return errors.New("sms: the provider's answer broke off")
	}
	var answer struct {
		Code int `json:"code"`
	}
	_ = json.Unmarshal(raw, &answer) // without a code the status decides
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return Refusal{Code: answer.Code}
	}
	return fmt.Errorf("sms: the provider answered with status %d, code %d", response.StatusCode, answer.Code)
}
