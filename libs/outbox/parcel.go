package outbox

import (
	"encoding/base64"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"
)

// RowsHeader names the outbox rows in a message that holds more than one: their ids
// of 16 bytes each, in base64. Without it the message is the row that its id names.
const RowsHeader = "Carekeep-Rows"

const (
	// A parcel ends at either; a row alone may be larger than parcelBytes. The broker takes 1 MiB.
	parcelRows  = 128
	parcelBytes = 256 << 10
)

// parcel is several rows in one message. Each message costs the broker, the audit store and
// the relay about as much as the events in it, so under light load, with an access in a row,
// rows that wait at the same moment travel together.
type parcel struct {
	rows    []uuid.UUID
	payload []byte // batches one behind the other, which is one batch in Protocol Buffers
	broken  bool   // the row in it is no batch
}

// fits says whether the row may be added. One that somebody broke travels alone: behind
// it nothing could be read.
func (p *parcel) fits(payload []byte) bool {
	if len(p.rows) == 0 {
		return true
	}
	return !p.broken && whole(payload) && len(p.rows) < parcelRows && len(p.payload)+len(payload) <= parcelBytes
}

// whole says that a payload ends where its last field ends.
func whole(payload []byte) bool {
	for len(payload) > 0 {
		_, _, n := protowire.ConsumeField(payload)
		if n < 0 {
			return false
		}
		payload = payload[n:]
	}
	return true
}

func (p *parcel) add(id uuid.UUID, payload []byte) {
	p.rows, p.payload, p.broken = append(p.rows, id), append(p.payload, payload...), !whole(payload)
}

// message is what is published. Its id follows from the rows, so that the same parcel
// sent twice is a duplicate, and other rows are none.
func (p *parcel) message(subject, stream string) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: p.payload, Header: nats.Header{
		jetstream.MsgIDHeader:          {p.rows[0].String()},
		jetstream.ExpectedStreamHeader: {stream},
	}}
	if len(p.rows) > 1 {
		all := make([]byte, 0, len(p.rows)*len(uuid.UUID{}))
		for _, id := range p.rows {
			all = append(all, id[:]...)
		}
		msg.Header[jetstream.MsgIDHeader] = []string{uuid.NewSHA1(uuid.Nil, all).String()}
		msg.Header[RowsHeader] = []string{base64.StdEncoding.EncodeToString(all)}
	}
	if parent := traceparent(p.payload); parent != "" {
		msg.Header["traceparent"] = []string{parent}
	}
	return msg
}

// RowsOf returns the outbox rows in a message, for its receipt.
func RowsOf(header nats.Header) ([]uuid.UUID, error) {
	text := header.Get(RowsHeader)
	if text == "" {
		id, err := uuid.Parse(header.Get(jetstream.MsgIDHeader))
		if err != nil {
			return nil, fmt.Errorf("its %s header is not a UUID", jetstream.MsgIDHeader)
		}
		return []uuid.UUID{id}, nil
	}
	all, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(all)%len(uuid.UUID{}) != 0 {
		return nil, fmt.Errorf("its %s header does not hold UUIDs", RowsHeader)
	}
	var rows []uuid.UUID
	for ; len(all) > 0; all = all[len(uuid.UUID{}):] {
		rows = append(rows, uuid.UUID(all))
	}
	return rows, nil
}
