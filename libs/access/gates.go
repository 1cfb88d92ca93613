package access

import (
	"strings"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// Gates is a set of conditions that do not hold: gate n is bit n-1. The zero value is none.
type Gates uint32

// NewGates returns the set of the given gates.
func NewGates(list ...accessv1.Gate) Gates {
	var g Gates
	for _, x := range list {
		g |= 1 << (x - 1)
	}
	return g
}

// Has reports whether the set holds x.
func (g Gates) Has(x accessv1.Gate) bool { return x > 0 && g&(1<<(x-1)) != 0 }

// Known reports whether the set holds only gates that have a name.
func (g Gates) Known() bool { return g>>(len(accessv1.Gate_name)-1) == 0 }

// List returns the gates in order of their numbers.
func (g Gates) List() []accessv1.Gate {
	var list []accessv1.Gate
	for x := accessv1.Gate(1); int(x) < len(accessv1.Gate_name); x++ {
		if g.Has(x) {
			list = append(list, x)
		}
	}
	return list
}

// mend says for each gate what opens it again. A gate that is missing here panics in a test.
var mend = map[accessv1.Gate]string{
	accessv1.Gate_GATE_TRAINING:      "the training on privacy and security is missing or older than a year; complete it and have it recorded",
	accessv1.Gate_GATE_ATTESTATION:   "this device was not attested within 30 days; attest it",
	accessv1.Gate_GATE_BAA:           "the practice has no business associate agreement in force; have it signed and recorded",
	accessv1.Gate_GATE_FACTOR:        "the practice asks for a passkey; sign in or step up with one",
	accessv1.Gate_GATE_NETWORK:       "this network is new for the session; verify a second factor from here",
	accessv1.Gate_GATE_CERTIFICATION: "nobody confirmed this access in the last quarterly review; have an administrator confirm it",
}

// Err is the refusal of a permission that the gates withhold: reason and text are
// those of the first, and every gate is named. Nil for no gates.
func (g Gates) Err() error {
	list := g.List()
	if len(list) == 0 {
		return nil
	}
	texts := make([]string, len(list))
	for i, x := range list {
		texts[i] = mend[x]
	}
	return errs.New(errs.KindPrecondition, list[0].String(), strings.Join(texts, "; "))
}
