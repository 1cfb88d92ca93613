package event

import (
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/outbox/ranges"
)

// Row is an outbox row that a message holds.
type Row struct {
	Epoch   uuid.UUID // of the process that made it
	Number  int64     // in this epoch
	Events  int       // it says it holds
	Claimed ranges.Set
}

// rowsField is the number of audit.v1.Batch.rows.
const rowsField protowire.Number = 2

// Rows returns what a batch says of its outbox rows; none where it is of a release that does
// not number them. Rows that say nothing sensible are left out, and the error says so.
func Rows(payload []byte) ([]Row, error) {
	var rows []Row
	var problem error
	for len(payload) > 0 {
		number, kind, tag := protowire.ConsumeTag(payload)
		if tag < 0 {
			return rows, problem // Decode complains
		}
		size := protowire.ConsumeFieldValue(number, kind, payload[tag:])
		if size < 0 {
			return rows, problem
		}
		if number == rowsField && kind == protowire.BytesType {
			raw, _ := protowire.ConsumeBytes(payload[tag:])
			if row, ok := rowOf(raw); ok {
				rows = append(rows, row)
			} else {
				problem = refused("it does not say which outbox row it is")
			}
		}
		payload = payload[tag+size:]
	}
	return rows, problem
}

func rowOf(raw []byte) (Row, bool) {
	var r auditv1.Row
	if proto.Unmarshal(raw, &r) != nil || r.GetNumber() < 1 || r.GetEvents() < 0 {
		return Row{}, false
	}
	epoch, err := uuid.FromBytes(r.GetEpoch())
	if err != nil {
		return Row{}, false
	}
	claimed, err := ranges.FromProto(r.GetCommitted())
	if err != nil {
		return Row{}, false
	}
	return Row{Epoch: epoch, Number: r.GetNumber(), Events: int(r.GetEvents()), Claimed: claimed}, true
}
