package caller

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	issuer = "carekeep-auth"
	// tokenType keeps other JWTs from passing as caller tokens (RFC 8725, 3.11).
	tokenType = "carekeep-caller+jwt"
	// lifetime is how long a token is valid, and so how long a revoked session can still act.
	lifetime = 60 * time.Second
	// skew is how far the clocks of auth and of a service may differ.
	skew = 5 * time.Second

	maxUsername = 256
	maxTemplate = 64
	maxAddress  = 64
	maxActsFor  = 256
)

// claims is the payload of a caller token.
type claims struct {
	jwt.RegisteredClaims
	Practice    string   `json:"practice"`
	Session     string   `json:"sid"`
	Username    string   `json:"username"`
	Role        int32    `json:"role"`
	Template    string   `json:"template,omitempty"`
	Assurance   int32    `json:"aal"`
	Permissions string   `json:"permissions"`
	Withheld    string   `json:"withheld,omitempty"`
	Gates       uint32   `json:"gates,omitempty"`
	AuthTime    int64    `json:"auth_time,omitempty"`
	Purpose     int32    `json:"purpose,omitempty"`
	ActsFor     []string `json:"acts_for,omitempty"`
	Address     string   `json:"address,omitempty"`
	Device      string   `json:"device,omitempty"`
}

func claimsOf(c *Caller, now time.Time) *claims {
	out := &claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Subject:   c.User.String(),
			Audience:  jwt.ClaimStrings{access.ServiceName(c.Audience)},
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now.Add(-skew)),
			ExpiresAt: jwt.NewNumericDate(now.Add(lifetime)),
		},
		Practice:    c.Practice.String(),
		Session:     c.Session.String(),
		Username:    c.Username,
		Role:        int32(c.Role),
		Template:    c.Template,
		Assurance:   int32(c.Assurance),
		Permissions: c.Permissions.Encode(),
		Withheld:    c.Withheld.Encode(),
		Gates:       uint32(c.Gates),
		Purpose:     int32(c.Purpose),
		Address:     c.Address,
	}
	if c.Device != uuid.Nil {
		out.Device = c.Device.String()
	}
	if !c.Authenticated.IsZero() {
		out.AuthTime = c.Authenticated.Unix()
	}
	for _, id := range c.ActsFor {
		out.ActsFor = append(out.ActsFor, id.String())
	}
	return out
}

// caller reads verified claims. The registered ones have been checked by the parser.
func (c *claims) caller(audience accessv1.Service) (*Caller, error) {
	out := &Caller{
		Username:  c.Username,
		Role:      accessv1.RoleKind(c.Role),
		Template:  c.Template,
		Assurance: accessv1.Assurance(c.Assurance),
		Purpose:   accessv1.Purpose(c.Purpose),
		Address:   c.Address,
		Audience:  audience,
		Gates:     access.Gates(c.Gates),
		Expires:   c.ExpiresAt.UTC(),
	}
	if c.AuthTime > 0 {
		out.Authenticated = time.Unix(c.AuthTime, 0).UTC()
	}
	var errUser, errPractice, errSession, errPermissions, errWithheld error
	out.User, errUser = parseID("sub", c.Subject)
	out.Practice, errPractice = parseID("practice", c.Practice)
	out.Session, errSession = parseID("sid", c.Session)
	out.Permissions, errPermissions = access.Decode(c.Permissions)
	out.Withheld, errWithheld = access.Decode(c.Withheld)
	if err := errors.Join(errUser, errPractice, errSession, errPermissions, errWithheld); err != nil {
		return nil, err
	}
	if c.Device != "" {
		var err error
		if out.Device, err = parseID("device", c.Device); err != nil {
			return nil, err
		}
	}
	for _, s := range c.ActsFor {
		id, err := parseID("acts_for", s)
		if err != nil {
			return nil, err
		}
		out.ActsFor = append(out.ActsFor, id)
	}
	return out, out.validate()
}

// parseID takes only the spelling that Sign writes.
func parseID(claim, s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return uuid.Nil, fmt.Errorf("claim %s is not a UUID", claim)
	}
	return id, nil
}

// validate holds for every token that is signed or accepted.
func (c *Caller) validate() error {
	switch {
	case c.User == uuid.Nil:
		return errors.New("the caller has no user")
	case c.Session == uuid.Nil:
		return errors.New("the caller has no session")
	case !defined(accessv1.RoleKind_name, int32(c.Role)):
		return errors.New("the caller's role is not one of the four kinds")
	case (c.Role == accessv1.RoleKind_ROLE_KIND_SUPERADMIN) != (c.Practice == uuid.Nil):
		return errors.New("a superadmin belongs to no practice, everyone else to one")
	case !defined(accessv1.Assurance_name, int32(c.Assurance)):
		return errors.New("the caller's assurance level is missing or unknown")
	case c.Purpose != 0 && !defined(accessv1.Purpose_name, int32(c.Purpose)):
		return errors.New("the caller's purpose of use is unknown")
	case !validText(c.Username, 1, maxUsername):
		return fmt.Errorf("the username must be UTF-8 of 1 to %d bytes", maxUsername)
	case !validText(c.Template, 0, maxTemplate):
		return fmt.Errorf("the template must be UTF-8 of at most %d bytes", maxTemplate)
	case !validText(c.Address, 0, maxAddress):
		return fmt.Errorf("the address must be UTF-8 of at most %d bytes", maxAddress)
	case !c.Gates.Known() || c.Gates == 0 && c.Withheld.Len() > 0:
		return errors.New("the caller's gates are unknown, or missing where something is withheld")
	case len(c.ActsFor) > maxActsFor:
		return fmt.Errorf("the caller acts for more than %d doctors", maxActsFor)
	}
	return nil
}

// defined reports whether n is a named value other than UNSPECIFIED.
func defined(names map[int32]string, n int32) bool {
	_, ok := names[n]
	return ok && n != 0
}

func validText(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s)
}
