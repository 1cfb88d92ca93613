package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
)

const (
	words = 8
	// maxPermission is the largest permission number that a set can hold.
	maxPermission = words*64 - 1
)

// Permissions is a set of permissions. The zero value is empty; it is a value,
// so a copy is independent.
type Permissions struct{ bits [words]uint64 }

// NewPermissions returns the set of the given permissions.
func NewPermissions(list ...accessv1.Permission) Permissions {
	var p Permissions
	for _, x := range list {
		p.Add(x)
	}
	return p
}

// Has reports whether the set holds x. No set holds PERMISSION_UNSPECIFIED.
func (p Permissions) Has(x accessv1.Permission) bool {
	return x > 0 && x <= maxPermission && p.bits[x/64]&(1<<(x%64)) != 0
}

// HasAll reports whether the set holds everything that other holds.
func (p Permissions) HasAll(other Permissions) bool {
	for i, w := range other.bits {
		if w&^p.bits[i] != 0 {
			return false
		}
	}
	return true
}

// Add puts x into the set. PERMISSION_UNSPECIFIED and numbers above 511 are ignored.
func (p *Permissions) Add(x accessv1.Permission) {
	if x > 0 && x <= maxPermission {
		p.bits[x/64] |= 1 << (x % 64)
	}
}

// Remove takes x out of the set.
func (p *Permissions) Remove(x accessv1.Permission) {
	if x > 0 && x <= maxPermission {
		p.bits[x/64] &^= 1 << (x % 64)
	}
}

// And returns what both sets hold.
func (p Permissions) And(other Permissions) Permissions {
	for i := range p.bits {
		p.bits[i] &= other.bits[i]
	}
	return p
}

// Or returns what either set holds.
func (p Permissions) Or(other Permissions) Permissions {
	for i := range p.bits {
		p.bits[i] |= other.bits[i]
	}
	return p
}

// Without returns what the set holds and other does not.
func (p Permissions) Without(other Permissions) Permissions {
	for i := range p.bits {
		p.bits[i] &^= other.bits[i]
	}
	return p
}

// Len returns how many permissions the set holds.
func (p Permissions) Len() int {
	n := 0
	for _, w := range p.bits {
		n += bits.OnesCount64(w)
	}
	return n
}

// List returns the permissions in order of their numbers.
func (p Permissions) List() []accessv1.Permission {
	out := make([]accessv1.Permission, 0, p.Len())
	for i, w := range p.bits {
		for ; w != 0; w &= w - 1 {
			out = append(out, accessv1.Permission(i*64+bits.TrailingZeros64(w)))
		}
	}
	return out
}

// Encode returns the set as base64url without padding: bit n of the bytes, least
// significant first, is permission n; zero bytes at the end are left out.
func (p Permissions) Encode() string {
	return base64.RawURLEncoding.EncodeToString(p.Bytes())
}

// Bytes returns the set as Encode writes it, before base64.
func (p Permissions) Bytes() []byte {
	var raw [words * 8]byte
	n := 0
	for i := range raw {
		raw[i] = byte(p.bits[i/8] >> (i % 8 * 8))
		if raw[i] != 0 {
			n = i + 1
		}
	}
	return raw[:n]
}

// FromBytes reads what Bytes wrote.
func FromBytes(raw []byte) (Permissions, error) {
	return Decode(base64.RawURLEncoding.EncodeToString(raw))
}

// Decode reads what Encode wrote and refuses every other spelling of a set, so
// that one set has one encoding.
func Decode(s string) (Permissions, error) {
	var p Permissions
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return p, fmt.Errorf("access: permissions are not base64url: %w", err)
	}
	if len(raw) > words*8 {
		return p, fmt.Errorf("access: permissions take %d bytes, at most %d are allowed", len(raw), words*8)
	}
	for i, b := range raw {
		p.bits[i/8] |= uint64(b) << (i % 8 * 8)
	}
	if p.bits[0]&1 != 0 {
		return Permissions{}, errors.New("access: permissions hold number 0, which is no permission")
	}
	// The decoder skips line breaks, and zero bytes at the end change nothing.
	if p.Encode() != s {
		return Permissions{}, errors.New("access: permissions are not written as Encode writes them")
	}
	return p, nil
}
