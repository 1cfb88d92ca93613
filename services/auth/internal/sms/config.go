// Package sms speaks with a provider of text messages in the shape of Twilio's API,
// and knows what a message may say: templates, the alphabet of one segment, the
// words that mean stop. It keeps nothing and decides on no consent; package outbound does.
package sms

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/carekeep/carekeep/libs/config"
)

// Config says which provider carries text messages, and who they come from.
type Config struct {
	// URL is the provider's API, https unless it is on this machine.
	URL     string        `yaml:"url" config:"required"`
	Account string        `yaml:"account" config:"required"`
	Token   config.Secret `yaml:"token"`
	// From sends one-time codes; messages to patients come from the number of a campaign.
	From string `yaml:"from" config:"required"`
	// Brand and Contact say who sends and how to reach them.
	Brand   string `yaml:"brand" config:"required"`
	Contact string `yaml:"contact" config:"required"`
	// Webhook is the address that the provider calls with replies, exactly as configured there: its
	// signature covers it. Empty: public_url and WebhookPath.
	Webhook string `yaml:"webhook"`
	// Authorities is a PEM file with the authorities of the provider; empty: those of the system.
	Authorities string `yaml:"authorities" config:"path"`
}

// WebhookPath is where the gateway takes replies.
const WebhookPath = "/v1/messages:receiveSms"

var account = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// Validate refuses what would send in the clear, in nobody's name, or without a token.
func (c Config) Validate() error {
	var found []error
	if c.Token.Value() == "" {
		found = append(found, errors.New("token: this setting is required"))
	}
	if !account.MatchString(c.Account) {
		found = append(found, errors.New("account: must be the account SID of the provider"))
	}
	if !protected(c.URL, true) {
		found = append(found, errors.New("url: must be like https://api.twilio.com; http is for a loopback host only"))
	}
	if c.Webhook != "" && !protected(c.Webhook, false) {
		found = append(found, errors.New("webhook: must be like https://care.example.org"+WebhookPath))
	}
	if number, err := Number(c.From); err != nil || number != c.From {
		found = append(found, errors.New("from: must be a number such as +12025550123"))
	}
	if err := CheckBrand(c.Brand); err != nil {
		found = append(found, fmt.Errorf("brand: %w", err))
	}
	if err := CheckContact(c.Contact); err != nil {
		found = append(found, fmt.Errorf("contact: %w", err))
	}
	return errors.Join(found...)
}

func protected(text string, local bool) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || local && u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// MaxBrand and MaxContact bound who a message says it comes from, in characters.
const (
	MaxBrand   = 32
	MaxContact = 20
)

var contact = regexp.MustCompile(`^\+?[0-9][0-9 ().-]{5,18}$`)

// CheckBrand says whether a sender's name can stand in every message.
func CheckBrand(brand string) error {
	if brand == "" || brand != strings.TrimSpace(brand) || Septets(brand) > MaxBrand || Septets(brand) < 0 {
		return fmt.Errorf("must be 1 to %d characters that every phone shows (GSM 03.38)", MaxBrand)
	}
	if strings.ContainsAny(brand, "{}/\n\r") {
		return errors.New("must be a name on one line, without a link")
	}
	return nil
}

// CheckContact says whether a contact is a telephone number to write or call.
func CheckContact(number string) error {
	if !contact.MatchString(number) || len(number) > MaxContact {
		return fmt.Errorf("must be a telephone number of at most %d characters", MaxContact)
	}
	return nil
}
