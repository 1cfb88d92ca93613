package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"time"

	"google.golang.org/grpc"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/services/audit/internal/respond"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Response is what is done about detections.
type Response struct {
	// Auth is where auth listens, host:port: it mails and acts. Empty: rules act on nothing and nobody is mailed.
	Auth string `yaml:"auth"`
	// MailRisk is from which risk on administrators are mailed; HIGH by default.
	MailRisk string `yaml:"mail_risk"`
	// BlockMinutes is how long a rule blocks an address; 60 by default, a week at most.
	BlockMinutes int `yaml:"block_minutes"`
	// Webhooks are told of detections.
	Webhooks []Webhook `yaml:"webhooks"`
}

// Webhook is one receiver.
type Webhook struct {
	Name          string        `yaml:"name" config:"required"`
	URL           string        `yaml:"url" config:"required"`
	Secret        config.Secret `yaml:"secret" config:"required"`
	Risk          string        `yaml:"risk"`           // the least that is told; MEDIUM by default
	AllowNetworks []string      `yaml:"allow_networks"` // private networks where it may be
	Authorities   config.Path   `yaml:"authorities"`    // who vouches for it; the system's authorities by default
}

var webhookName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Validate implements config.Validator.
func (r *Response) Validate() error {
	r.MailRisk, r.BlockMinutes = cmp.Or(r.MailRisk, "HIGH"), cmp.Or(r.BlockMinutes, 60)
	if r.BlockMinutes < 1 || r.BlockMinutes > 7*24*60 {
		return errors.New("block_minutes must be 1 to 10080, or left out for 60")
	}
	if _, err := respond.NewAuth(nil, r.MailRisk, 0); err != nil {
		return err
	}
	_, err := r.webhooks(nil)
	return err
}

func (r *Response) webhooks(now func() time.Time) ([]respond.Target, error) {
	var all []respond.Target
	names := map[string]bool{}
	for _, w := range r.Webhooks {
		if !webhookName.MatchString(w.Name) || names[w.Name] {
			return nil, fmt.Errorf("webhooks: %q must be a name of its own, of small letters, digits and hyphens", w.Name)
		}
		names[w.Name] = true
		t, err := respond.NewWebhook(respond.WebhookOptions{
			Name: w.Name, URL: w.URL, Secret: w.Secret.Value(), Risk: cmp.Or(w.Risk, "MEDIUM"),
			AllowNetworks: w.AllowNetworks, Authorities: string(w.Authorities), Now: now,
		})
		if err != nil {
			return nil, fmt.Errorf("webhooks: %s: %w", w.Name, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// response is what carries responses out, and the connection that it needs; nil where there is none.
type response struct {
	*respond.Responder
	auth *grpc.ClientConn
}

func (v *service) newResponse(r Response, identity *mtls.Source, now func() time.Time) (*response, error) {
	if err := r.Validate(); err != nil { // fills in defaults where no file was read
		return nil, fmt.Errorf("response: %w", err)
	}
	made := &response{}
	targets, err := r.webhooks(now)
	if err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	if r.Auth == "" {
		v.log.Warn("response.auth is not set: nobody is mailed about detections, and rules act on nothing")
	} else {
		if made.auth, err = identity.Dial(r.Auth, accessv1.Service_SERVICE_AUTH); err != nil {
			return nil, err
		}
		t, err := respond.NewAuth(made.auth, r.MailRisk, time.Duration(r.BlockMinutes)*time.Minute)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	made.Responder = respond.New(respond.Options{Queue: store.NewRespond(v.pool), Sink: v.own, Targets: targets, Log: v.log, Now: now})
	return made, nil
}

func (r *response) close() {
	if r != nil && r.auth != nil {
		_ = r.auth.Close()
	}
}
