package ledger

import (
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Entry is an event at its place in the log, as it is stored and exported. Of
// another practice's entry a reader gets Seq and Leaf alone.
type Entry struct {
	Seq   int64     `json:"seq"`
	Leaf  tlog.Hash `json:"leaf"`
	Event []byte    `json:"event,omitempty"`
	Salt  []byte    `json:"salt,omitempty"`
	// The columns that the database keeps beside the bytes; only an export that
	// was read straight from the database holds them.
	Index      *Index     `json:"index,omitempty"`
	AppendTime *time.Time `json:"append_time,omitempty"`
	// LetGo is the number of the later entry by which retention let this one go, of which then
	// Seq and Leaf are left.
	LetGo *int64 `json:"let_go,omitempty"`
}

// Whole reports whether the entry holds its event, and not only its leaf hash.
func (e Entry) Whole() bool { return len(e.Salt) > 0 || len(e.Event) > 0 }

// Check holds the entry to its own leaf hash and index. Where it returns no
// problem, the event it returns is what the leaf committed to.
func (e Entry) Check() (*auditv1.Event, *Problem) {
	leaf, err := LeafHash(e.Salt, e.Event)
	if err != nil {
		return nil, e.problem(EntryAltered, err.Error())
	}
	if leaf != e.Leaf {
		return nil, e.problem(EntryAltered, "the event or its salt is not what the leaf hash committed to")
	}
	event := new(auditv1.Event)
	if err := proto.Unmarshal(e.Event, event); err != nil {
		return nil, e.problem(EntryAltered, "the event cannot be read")
	}
	index, err := IndexOf(event)
	if err != nil {
		return nil, e.problem(EntryAltered, err.Error())
	}
	if e.Index != nil {
		if column, differ := index.differs(*e.Index); differ {
			return nil, e.problem(IndexAltered, fmt.Sprintf("column %s is not what the event says", column))
		}
	}
	return event, nil
}

func (e Entry) problem(kind Kind, detail string) *Problem {
	return &Problem{Kind: kind, First: e.Seq, Last: e.Seq, Detail: detail}
}
