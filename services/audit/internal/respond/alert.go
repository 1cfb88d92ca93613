package respond

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Reasons of the alerts: an action that is not carried out after a minute, and one, or a delivery, that is given up after a day.
const (
	ReasonLate    = "RESPONSE_LATE"
	ReasonGivenUp = "RESPONSE_GIVEN_UP"
)

// alert tells of a response that failed. Its id follows from what it is about, so that the log takes it once.
func (r *Responder) alert(x store.Response, a store.Answerable, reason string) *auditv1.Event {
	recorder := evidence.New(accessv1.Service_SERVICE_AUDIT, "jobs/Respond", accessv1.Action_ACTION_ALERT, r.Now)
	return recorder.Event(evidence.Resource("detections/"+a.ID.String(), 0), evidence.Practice(a.Practice), evidence.Reason(reason),
		evidence.Risk(auditv1.Risk_RISK_CRITICAL), func(e *auditv1.Event) { e.EventId = alertID(x, a, reason).String() })
}

// alertID is a UUIDv7 of the detection's time, for the first alert, or of the end, whose other bits are a hash.
func alertID(x store.Response, a store.Answerable, reason string) uuid.UUID {
	at := a.Time
	if reason == ReasonGivenUp {
		at = x.Ends
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "carekeep response %s %s %s %s", reason, x.Detection, x.Target, x.Action))
	var id uuid.UUID
	copy(id[:], sum[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli())) //nolint:gosec // after 1970
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}
