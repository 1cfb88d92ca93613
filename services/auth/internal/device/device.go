package device

import (
	"context"

	"github.com/google/uuid"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// reasonForgotten is why the sessions of a forgotten device end, as stored.
const reasonForgotten = "DEVICE_FORGOTTEN"

// listed is how many devices a user is shown, the latest used.
const listed = 100

var errNotFound = errs.New(errs.KindNotFound, "DEVICE_NOT_FOUND", "there is no such device")

// Devices works on the devices of users.
type Devices struct{ Store *store.Store }

// List returns the caller's devices, the latest used first.
func (d *Devices) List(ctx context.Context, c *caller.Caller) ([]store.Device, error) {
	tx := d.Store.In(c.Practice)
	list := tx.Devices(c.User, c.Session, listed)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Count(len(list.All())))}, nil
	})
	return list.All(), err
}

// Rename gives one of the caller's devices another name.
func (d *Devices) Rename(ctx context.Context, c *caller.Caller, id uuid.UUID, label string) (store.Device, error) {
	tx := d.Store.In(c.Practice)
	renamed := tx.RenameDevice(id, c.User, c.Session, label)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !renamed.Found() {
			return nil, errNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(evidence.Resource(Name(id), 0), evidence.Reason("DEVICE_RENAMED"))}, nil
	})
	row, _ := renamed.One()
	return row, err
}

// Forget makes one of the caller's devices unknown, ends its sessions and says how many there were.
func (d *Devices) Forget(ctx context.Context, c *caller.Caller, id uuid.UUID) (int, error) {
	tx := d.Store.In(c.Practice)
	tx.LockUser(c.User)
	forgotten := tx.ForgetDevice(id, c.User)
	ended := tx.EndDeviceSessions(id, c.User, reasonForgotten)
	err := tx.Do(ctx, func() ([]*auditv1.Event, error) {
		if !forgotten.Found() {
			return nil, errNotFound
		}
		return []*auditv1.Event{evidence.From(ctx).Event(
			evidence.Resource(Name(id), 0), evidence.Count(len(ended.All())), evidence.Reason(reasonForgotten))}, nil
	})
	return len(ended.All()), err
}
