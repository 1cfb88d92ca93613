package auditevent

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// The extensions that let anybody verify a report with the log's verifier key alone. The one of a
// checkpoint stands in Bundle.meta; that of a proof in each AuditEvent, with parts of its own.
const (
	ExtensionCheckpoint = "urn:carekeep:fhir:checkpoint"
	ExtensionProof      = "urn:carekeep:fhir:inclusion-proof"
)

// Proof says that an entry is in the tree of a size (RFC 6962, 2.1.1). Event and Salt, where they
// are there, are what the leaf commits to: without them the proof is of a commitment.
type Proof struct {
	Seq, Size   int64
	Leaf        []byte
	Hashes      [][]byte
	Event, Salt []byte
}

func (p *Proof) extension() object {
	parts := []object{
		{"url": "seq", "valueString": strconv.FormatInt(p.Seq, 10)},
		{"url": "treeSize", "valueString": strconv.FormatInt(p.Size, 10)},
		{"url": "leafHash", "valueBase64Binary": p.Leaf},
	}
	for _, h := range p.Hashes {
		parts = append(parts, object{"url": "hash", "valueBase64Binary": h})
	}
	if len(p.Event) > 0 {
		parts = append(parts, object{"url": "event", "valueBase64Binary": p.Event}, object{"url": "salt", "valueBase64Binary": p.Salt})
	}
	return object{"url": ExtensionProof, "extension": parts}
}

// Item is an entry with its proof, if it has one.
type Item struct {
	Entry *auditv1.Entry
	Proof *Proof
}

// Bundle is a searchset. Checkpoint is the signed note that the proofs go with, "" for none.
func Bundle(items []Item, checkpoint, next string, now time.Time) ([]byte, error) {
	out := object{"resourceType": "Bundle", "type": "searchset", "timestamp": now.UTC().Format(time.RFC3339Nano)}
	if checkpoint != "" {
		out["meta"] = object{"extension": []object{{"url": ExtensionCheckpoint, "valueString": checkpoint}}}
	}
	if next != "" {
		out["link"] = []object{{"relation": "next", "url": next}}
	}
	entries := make([]object, len(items))
	for i, item := range items {
		entries[i] = object{
			"fullUrl": "urn:uuid:" + item.Entry.GetEvent().GetEventId(), "resource": Resource(item.Entry, item.Proof),
			"search": object{"mode": "match"},
		}
	}
	if len(entries) > 0 {
		out["entry"] = entries
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("write a bundle: %w", err)
	}
	return raw, nil
}
