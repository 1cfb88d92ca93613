package session

import (
	"time"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/network"
	"github.com/carekeep/carekeep/services/auth/internal/device"
	"github.com/carekeep/carekeep/services/auth/internal/store"
)

// together is how recently another session was used to count as in use at the same
// time as the one that opens (claim DX-29).
const together = 15 * time.Minute

// ReasonSharing is the reason of the alert that one account is in use in two distant places.
const ReasonSharing = "CREDENTIAL_SHARING"

// arrive adds to a transaction what recognises the client.
func (s *Sessions) arrive(tx *store.Tx, user uuid.UUID, client Client) (store.Arriving, *store.Rows[store.Arrival]) {
	a := store.Arriving{
		User: user, Claimed: s.devices.Read(client.DeviceToken), Fresh: uuid.Must(uuid.NewV7()),
		Features: device.Features(client.UserAgent, client.AcceptLanguage), Label: device.Label(client.UserAgent),
		Address: client.Address, UserAgent: client.UserAgent,
		Network: network.Of(client.Address), Wide: network.Wide(client.Address), Together: together,
	}
	return a, tx.Arrive(a)
}

// Events are the events of what opening or raising the session brought with it: sessions
// that made room, a new device or network, one account in two places. Mods name
// the user where the caller's token does not.
func (o *Opening) Events(r *evidence.Recorder, mods ...func(*auditv1.Event)) []*auditv1.Event {
	var events []*auditv1.Event
	add := func(more ...func(*auditv1.Event)) {
		events = append(events, r.Event(append(mods[:len(mods):len(mods)], more...)...))
	}
	for _, id := range o.evicted.All() {
		add(evidence.Action(accessv1.Action_ACTION_SESSION_CHANGE), evidence.Resource(Name(id), 0), evidence.Reason("SESSION_EVICTED"))
	}
	arrival, _ := o.arrival.One()
	for _, kind := range append(arrival.News, o.moved.All()...) {
		switch kind {
		case store.NewsDevice:
			add(evidence.Action(accessv1.Action_ACTION_DEVICE_CHANGE), evidence.Resource(device.Name(arrival.Device), 0),
				evidence.Reason(kind), evidence.Risk(auditv1.Risk_RISK_MEDIUM))
		case store.NewsNetwork:
			add(evidence.Action(accessv1.Action_ACTION_DEVICE_CHANGE), evidence.Resource(Name(o.session.ID), 0),
				evidence.Reason(kind), evidence.Risk(auditv1.Risk_RISK_MEDIUM))
		case store.NewsSharing:
			add(evidence.Action(accessv1.Action_ACTION_ALERT), evidence.Resource(Name(o.session.ID), 0),
				evidence.Reason(ReasonSharing), evidence.Risk(auditv1.Risk_RISK_HIGH))
		}
	}
	return events
}
