package limit

import (
	"context"

	"github.com/carekeep/carekeep/services/auth/internal/network"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// ceremonies are how many passkey sign-ins an address may begin for each one that
// it may finish: pages begin one whenever they are shown.
const ceremonies = 6

// Ceremony counts a passkey sign-in that is begun against the address. It proves
// nothing yet, so it is not counted as a sign-in; it only takes up room.
func (l *Limiter) Ceremony(ctx context.Context, address string) error {
	tx := l.store.In(store.Platform)
	wait := tx.Attempt([][]byte{l.hash("ceremony", network.Client(address))}, l.max*ceremonies, Window)
	restrained := tx.Restrained(nil, network.Client(address))
	if err := tx.Read(ctx); err != nil {
		return err
	}
	if err := held(restrained); err != nil {
		return err
	}
	return refused(wait, "SIGN_IN_LIMITED", "too many sign-ins")
}
