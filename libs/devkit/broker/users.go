package broker

import (
	"github.com/nats-io/nats-server/v2/server"

	"github.com/carekeep/carekeep/libs/outbox"
)

// Users are the identities that may connect, and the subjects each may use. A
// service cannot publish another's events or heartbeats, read any, or forge a receipt.
// An identity that is not here, such as the gateway's, is refused.
func Users(trustDomain string) []*server.User {
	users := []*server.User{user(trustDomain, "audit",
		// A replica that is not the log's writer hands its own events on as others do.
		[]string{"$JS.API.>", "$JS.ACK.>", "audit.receipts.*", outbox.EventSubject("audit")},
		[]string{outbox.ReceiptSubject("audit"), outbox.HeartbeatSubject("*"), outbox.InboxPrefix("audit") + ".>"})}
	for _, service := range []string{"auth", "records", "backup"} {
		users = append(users, user(trustDomain, service,
			[]string{outbox.EventSubject(service), outbox.HeartbeatSubject(service)},
			[]string{outbox.ReceiptSubject(service), outbox.InboxPrefix(service) + ".>"}))
	}
	return users
}

func user(trustDomain, name string, publish, subscribe []string) *server.User {
	return &server.User{
		Username: "spiffe://" + trustDomain + "/service/" + name,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: subscribe},
		},
	}
}
