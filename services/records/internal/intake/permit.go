package intake

import (
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/policy"
)

// denial is what the audit log learns of an entry that was refused to protect what
// is stored.
type denial struct {
	at   chart.Place
	kind errs.Kind
	why  *refusal
}

func (d denial) event(rec *evidence.Recorder) *auditv1.Event {
	return rec.Event(chart.About(d.at, 0), evidence.Outcome(auditv1.Outcome_OUTCOME_DENIED, d.kind.Code(), d.why.reason))
}

// deny refuses an entry because of the resource that stands at the place already.
func (b *batch) deny(index int64, at chart.Place, why *refusal) {
	b.refuse(index, why)
	b.plan.denied = append(b.plan.denied, denial{at, errs.KindDenied, why})
}

// mayChange reports whether the caller may change what is stored of a type: as
// one who treats the patient, or as one who may update the type in any case. The
// scope of the practice is not enough. It brings new resources into a chart, and
// who holds no clinical permission must neither overwrite nor bring back what others wrote.
func (r *run) mayChange(o owner, resourceType string) bool {
	return o.treated || policy.MayUpdate(r.held, resourceType)
}
