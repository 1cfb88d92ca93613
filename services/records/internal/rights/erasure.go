package rights

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

const anErasure = "must be the name of the erasure that this patient's request led to, as erasures/{uuid}"

var (
	errErasureName      = errs.New(errs.KindInvalid, "ERASURE_REQUIRED", "A request for erasure is complete when the erasure was carried out, or refused under an exemption: name it.").WithField("erasure", anErasure)
	errErasureStray     = errs.New(errs.KindInvalid, "ERASURE_STRAY", "An erasure answers a request for erasure only.").WithField("erasure", "must be empty on a request of another kind")
	errErasureUnknown   = errs.New(errs.KindInvalid, "ERASURE_UNKNOWN", "There is no such erasure of this patient.").WithField("erasure", anErasure)
	errErasureUndecided = errs.New(errs.KindPrecondition, "ERASURE_UNDECIDED", "This erasure is asked for and not decided: carry it out, or refuse it under an exemption, with DecideErasure.")
	errErasureDiffers   = errs.New(errs.KindPrecondition, "ERASURE_DIFFERS", "The request and the erasure were decided differently: what was granted is carried out under a certificate, what was refused is refused under an exemption of GDPR Article 17(3).")
	errErasureEarlier   = errs.New(errs.KindPrecondition, "ERASURE_EARLIER", "This erasure was decided before the request came in, so it does not answer it.")
)

// erasure reads the erasure of a name, of this patient; nil where no such is there. It is read before the request is: what
// is decided about an erasure stays.
func (r *Rights) erasure(ctx context.Context, patient uuid.UUID, name string) (*store.Erasure, error) {
	collection, text, _ := strings.Cut(name, "/")
	id, ok := fhir.ParseUUID(text)
	if !ok || collection != "erasures" {
		return nil, nil
	}
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var e store.Erasure
	var found bool
	if err := r.inside(ctx, who, func(b *pgx.Batch) { store.ReadErasure(b, who.viewer.Practice, id, &e, &found) }); err != nil {
		return nil, err
	}
	if !found || e.Patient != patient {
		return nil, nil
	}
	return &e, nil
}

// ofErasure says whether a row is a request for erasure. Every version of it is: a step of the request that counted as a
// contact would begin the retention anew, and nothing could be erased that is asked for.
func ofErasure(msg proto.Message) bool {
	m, ok := msg.(*Request)
	return ok && m.GetKind() == recordsv1.RightsKind_RIGHTS_KIND_ERASURE
}

// answered says why an erasure, named so, is no answer to a request that was decided (UK GDPR Article 17: refused under an
// exemption that is cited, or else destroyed).
func answered(m *Request, name string, e *store.Erasure) error {
	switch {
	case m.GetKind() != recordsv1.RightsKind_RIGHTS_KIND_ERASURE:
		if name != "" {
			return errErasureStray
		}
		return nil
	case name == "":
		return errErasureName
	case e == nil:
		return errErasureUnknown
	}
	carriedOut := e.Certificate != ""
	switch {
	case !carriedOut && e.Exemption == 0:
		return errErasureUndecided
	case carriedOut != m.GetDecision().GetGranted():
		return errErasureDiffers
	case e.Decided.Before(m.GetReceiveTime().AsTime()):
		return errErasureEarlier
	}
	return nil
}
