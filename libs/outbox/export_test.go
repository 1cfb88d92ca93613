package outbox

import "time"

// SetNow gives a relay its clock; before Run only.
func (r *Relay) SetNow(now func() time.Time) { r.now = now }
