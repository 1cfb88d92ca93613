package respond

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// kinds are the actions of rules (package rules, KnownActions) as auth knows them.
var kinds = map[string]authv1.ResponseKind{
	"end_sessions":  authv1.ResponseKind_RESPONSE_KIND_END_SESSIONS,
	"freeze_user":   authv1.ResponseKind_RESPONSE_KIND_FREEZE_USER,
	"block_address": authv1.ResponseKind_RESPONSE_KIND_BLOCK_ADDRESS,
	"cut_practice":  authv1.ResponseKind_RESPONSE_KIND_CUT_PRACTICE,
	"cut_service":   authv1.ResponseKind_RESPONSE_KIND_CUT_SERVICE,
	"notify_user":   authv1.ResponseKind_RESPONSE_KIND_NOTIFY_USER,
	mailChiefs:      authv1.ResponseKind_RESPONSE_KIND_NOTIFY_ADMINISTRATORS,
}

// mailChiefs is done for every detection of a certain risk, whatever its rule asks for.
const mailChiefs = "notify_administrators"

// Auth is the target that acts on people, addresses, practices and services, and that has their mail addresses.
type Auth struct {
	Client authv1.ContainmentServiceClient
	// Mail is from which risk on administrators are written to.
	Mail auditv1.Risk
	// Block is how long an address is blocked.
	Block time.Duration
}

// NewAuth makes the target over a connection to auth.
func NewAuth(conn grpc.ClientConnInterface, mail string, block time.Duration) (*Auth, error) {
	risk, ok := riskOf(mail)
	if !ok {
		return nil, fmt.Errorf("mail_risk must be LOW, MEDIUM, HIGH or CRITICAL, not %q", mail)
	}
	return &Auth{Client: authv1.NewContainmentServiceClient(conn), Mail: risk, Block: block}, nil
}

// Name implements Target.
func (t *Auth) Name() string { return "auth" }

// Urgent implements Target: what is not contained goes on.
func (t *Auth) Urgent() bool { return true }

// Actions implements Target. What the detection has nobody and nothing for is left out.
func (t *Auth) Actions(a store.Answerable) []string {
	var list []string
	for _, action := range a.Actions {
		about := a.User != uuid.Nil
		switch action {
		case "block_address":
			about = a.Address != ""
		case "cut_practice":
			about = a.Practice != uuid.Nil
		case "cut_service":
			about = true
		}
		if about {
			list = append(list, action)
		}
	}
	if auditv1.Risk(a.Risk) >= t.Mail {
		list = append(list, mailChiefs)
	}
	return list
}

// Do implements Target. Auth does each once for a detection.
func (t *Auth) Do(ctx context.Context, a store.Answerable, action string) error {
	kind, ok := kinds[action]
	if !ok { // planned by another release
		return fmt.Errorf("%w: this release knows no action %q", ErrRefused, action)
	}
	r := &authv1.RespondRequest{
		Detection: a.ID.String(), Kind: kind, Title: title(a.Title), Address: a.Address, Service: a.Event.GetService(),
		BlockSeconds: int32(t.Block / time.Second), //nolint:gosec // a week at most
	}
	if a.Practice != uuid.Nil {
		r.Practice = "practices/" + a.Practice.String()
	}
	if a.User != uuid.Nil {
		r.User = "users/" + a.User.String()
	}
	_, err := t.Client.Respond(ctx, r)
	switch errs.KindOf(err) {
	case errs.KindDenied, errs.KindPrecondition, errs.KindInvalid, errs.KindNotFound:
		if errs.ReasonOf(err) != "CALLER_SERVICE_NOT_ALLOWED" { // that is mended in a configuration
			return fmt.Errorf("%w by auth: %w", ErrRefused, err)
		}
	}
	return err
}

// title is a rule's title as auth takes it: one line of 200 characters.
func title(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200])
	}
	if text == "" {
		return "a rule without a title"
	}
	return text
}
