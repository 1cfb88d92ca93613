package rights

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/policy"
)

var (
	errNoAmendment = errs.New(errs.KindPrecondition, "NO_AMENDMENT", "This request asks for no amendment.")
	errAmended     = errs.New(errs.KindPrecondition, "TYPE_NOT_AMENDED", "What the request names is no FHIR resource of a patient's chart: record a request that names one.")
	errContent     = errs.New(errs.KindInvalid, "CONTENT_INVALID", "The new content is no resource of the type, id and patient that the request is about.").WithField("content", "must be the whole resource as it shall be, with its type, id and patient unchanged")
)

// Amend accepts an amendment: the resource gets its next version, and the request says which one
// and who is to be informed. Its type is one that the caller may change for the purpose stated. The version comes first: a request that stays open after a crash is accepted again, on the new etag.
func (r *Rights) Amend(ctx context.Context, at Place, etag string, content []byte) (*Request, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	_, e, err := requests.find(ctx, r, who, at)
	if err != nil {
		return nil, err
	}
	granted := &recordsv1.Decision{Granted: true}
	switch m := e.msg; {
	case m.GetKind() != recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT:
		return nil, r.refuse(ctx, errNoAmendment, requests.about(at, 0))
	case m.GetVerification() == nil:
		return nil, r.refuse(ctx, errUnverified, requests.about(at, 0))
	case m.GetState() != recordsv1.RightsState_RIGHTS_STATE_OPEN:
		return nil, r.refuse(ctx, errDecided, requests.about(at, 0))
	}
	resourceType, id, _ := strings.Cut(e.msg.GetResource(), "/")
	if err := amendable(who, resourceType); err != nil {
		return nil, r.refuse(ctx, err, requests.about(at, 0))
	}
	target, ok := fhir.ParseUUID(id)
	if !ok {
		return nil, errContent
	}
	doc, err := r.chart.Update(ctx, chart.Place{Type: resourceType, Patient: at.Patient, ID: target}, etag, func(was []byte) ([]byte, error) {
		return amended(resourceType, was, content)
	})
	if err != nil {
		return nil, err
	}
	inform, err := r.recipients(ctx, who, at.Patient, e.msg.GetResource())
	if err != nil {
		return nil, err
	}
	return r.shown(requests.change(ctx, r, who, at, func(m *Request) error {
		m.AmendedVersion, m.Inform = doc.Version, inform
		return r.decide(who, m, granted)
	}, rider{}))
}

// amendable refuses what no amendment changes: types that are not FHIR's, such as a file's keys, which the chart stores
// unchecked; and types that the caller could not change otherwise. The request names the type, and whoever recorded it chose it.
func amendable(who actor, resourceType string) error {
	if resourceType != fhir.TypePatient && !fhir.Clinical(resourceType) {
		return errAmended
	}
	return policy.CheckChange(who.view, policy.Update, resourceType)
}

// amended checks that the new content is the same resource of the same patient. What R4 asks of it the chart checks.
func amended(resourceType string, was, content []byte) ([]byte, error) {
	if !json.Valid(content) || gjson.GetBytes(content, "resourceType").String() != resourceType ||
		gjson.GetBytes(content, "id").String() != gjson.GetBytes(was, "id").String() {
		return nil, errContent
	}
	before, after := fhir.Subjects(resourceType, was), fhir.Subjects(resourceType, content)
	if !slices.EqualFunc(before, after, slices.Equal[[]string]) {
		return nil, errContent
	}
	return bytes.Clone(content), nil
}

// recipients are those who received a resource, by the ledger: each is to be told of its change.
func (r *Rights) recipients(ctx context.Context, who actor, patient uuid.UUID, resource string) ([]*recordsv1.Recipient, error) {
	var out []*recordsv1.Recipient
	err := disclosures.each(ctx, r, who, patient, func(e entry[*Disclosure]) error {
		d := e.msg
		concerned := len(d.GetResources()) == 0 || slices.Contains(d.GetResources(), resource)
		if !concerned || d.GetBasis() == recordsv1.DisclosureBasis_DISCLOSURE_BASIS_INDIVIDUAL {
			return nil // the person knows
		}
		out = append(out, &recordsv1.Recipient{
			Recipient: d.GetRecipient(), RecipientAddress: d.GetRecipientAddress(), Disclosure: disclosures.name(Place{patient, e.row.ID}),
		})
		return nil
	})
	return out, err
}
