// Package seed fills a fresh stack with two practices and their people, through
// the REST API and the invitations in the inbox only, as an operator would. It
// keeps what it chose in a file, because passwords are stored nowhere else.
package seed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

// The people whom every stack has, by sign-in name.
const (
	Superadmin    = "superadmin"
	Admin         = "admin.riverside"
	Smith         = "dr.smith"
	Jones         = "dr.jones"
	Receptionist  = "receptionist"
	Nurse         = "nurse"
	HillsideAdmin = "admin.hillside"
	Brown         = "dr.brown"
)

// The practices.
const (
	Riverside = "Riverside Practice"
	Hillside  = "Hillside Practice"
)

// Person is a user with everything that it takes to be that user.
type Person struct {
	Username    string `json:"username"`
	DisplayName string `json:"display_name"`
	Email       string `json:"email"`
	// Template is "nurse" or "receptionist" for staff.
	Role     accessv1.RoleKind `json:"-"`
	Template string            `json:"template,omitempty"`
	// Practice is the display name, empty for the superadmin.
	Practice string `json:"practice,omitempty"`
	// Address is where the person's device connects from: one of its own, so that
	// limits for each address bind as they would in a practice.
	Address string `json:"address"`

	// User is the resource name, "users/{uuid}".
	User       string `json:"user"`
	Password   string `json:"password"`
	TotpSecret string `json:"totp_secret"`
	// Device names the person's device; empty until the first sign-in.
	Device string `json:"device,omitempty"`
	// Ready is set once the person can sign in with both factors.
	Ready bool `json:"ready"`
}

// purpose is what the person usually uses data for.
func (p *Person) purpose() accessv1.Purpose {
	if p.Role == accessv1.RoleKind_ROLE_KIND_DOCTOR || p.Template == "nurse" {
		return accessv1.Purpose_PURPOSE_TREATMENT
	}
	return accessv1.Purpose_PURPOSE_OPERATIONS
}

// Credentials are the people of a stack.
type Credentials struct {
	// Practices maps display names to resource names.
	Practices map[string]string `json:"practices"`
	People    []*Person         `json:"people"`

	file string
}

func people() []*Person {
	const (
		superadmin = accessv1.RoleKind_ROLE_KIND_SUPERADMIN
		admin      = accessv1.RoleKind_ROLE_KIND_ADMIN
		doctor     = accessv1.RoleKind_ROLE_KIND_DOCTOR
		staff      = accessv1.RoleKind_ROLE_KIND_STAFF
	)
	return []*Person{
		{Username: Superadmin, DisplayName: "Sam Operator", Email: "superadmin@carekeep.example", Role: superadmin, Address: "127.0.1.1"},
		{Username: Admin, DisplayName: "Ada Marsh", Email: "admin@riverside.example", Role: admin, Practice: Riverside, Address: "127.0.1.2"},
		{Username: Smith, DisplayName: "Dr. Jane Smith", Email: "smith@riverside.example", Role: doctor, Practice: Riverside, Address: "127.0.1.3"},
		{Username: Jones, DisplayName: "Dr. Tom Jones", Email: "jones@riverside.example", Role: doctor, Practice: Riverside, Address: "127.0.1.4"},
		{Username: Receptionist, DisplayName: "Rita Front", Email: "reception@riverside.example", Role: staff, Template: "receptionist", Practice: Riverside, Address: "127.0.1.5"},
		{Username: Nurse, DisplayName: "Noah Ward", Email: "nurse@riverside.example", Role: staff, Template: "nurse", Practice: Riverside, Address: "127.0.1.6"},
		{Username: HillsideAdmin, DisplayName: "Hal Crest", Email: "admin@hillside.example", Role: admin, Practice: Hillside, Address: "127.0.1.7"},
		{Username: Brown, DisplayName: "Dr. Ida Brown", Email: "brown@hillside.example", Role: doctor, Practice: Hillside, Address: "127.0.1.8"},
	}
}

// Load reads the people of a stack that was seeded.
func Load(file string) (*Credentials, error) {
	c, err := load(file)
	if err == nil && len(c.People) == 0 {
		err = fmt.Errorf("%s holds nobody: `make up` seeds a stack", file)
	}
	if err == nil && !c.ready() {
		err = fmt.Errorf("%s is not complete: wait until `make up` says that carekeep is ready", file)
	}
	return c, err
}

// load gives empty credentials where there is no file yet.
func load(file string) (*Credentials, error) {
	c := &Credentials{Practices: map[string]string{}, file: file}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("credentials %s: %w", file, err)
	}
	for _, known := range people() {
		if p := c.Person(known.Username); p != nil {
			p.Role = known.Role
		}
	}
	return c, nil
}

func (c *Credentials) save() error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if err := os.WriteFile(c.file+".part", raw, 0o600); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if err := os.Rename(c.file+".part", c.file); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

// Person finds somebody by sign-in name; nil where there is no such person.
func (c *Credentials) Person(username string) *Person {
	at := slices.IndexFunc(c.People, func(p *Person) bool { return p.Username == username })
	if at < 0 {
		return nil
	}
	return c.People[at]
}

func (c *Credentials) ready() bool {
	return len(c.People) > 0 && !slices.ContainsFunc(c.People, func(p *Person) bool { return !p.Ready })
}
