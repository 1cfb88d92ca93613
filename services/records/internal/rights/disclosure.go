package rights

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/index"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// Disclosure is what is stored of a disclosure, and shown.
type Disclosure = recordsv1.Disclosure

var disclosures = kind[*Disclosure]{rowType: store.TypeDisclosure, collection: "disclosures"}

const (
	// ledgerYears is how far back an accounting goes (45 CFR 164.528(a)(1)).
	ledgerYears = 6
	// oralSuspension is the longest that an oral statement suspends an accounting (164.528(a)(2)(ii)(C)).
	oralSuspension = 30 * 24 * time.Hour
	// maxAccounting is what an answer may have: a message has to stay below 4 MiB, gRPC's default.
	maxAccounting = 3 << 20
)

var (
	errConsentMissing = errs.New(errs.KindPrecondition, "CONSENT_NOT_ACTIVE", "A disclosure by authorisation needs a consent of this patient that has begun, and neither ended nor was withdrawn.")
	errConsentOther   = errs.New(errs.KindPrecondition, "CONSENT_FOR_ANOTHER", "The consent names somebody else than the recipient.")
	errConsentStray   = errs.New(errs.KindInvalid, "CONSENT_WITHOUT_AUTHORISATION", "A consent goes with the basis of an authorisation only.").WithField("disclosure.consent", "must be empty on this basis")
	errRecipient      = errs.New(errs.KindPrecondition, "RECIPIENT_NOT_VERIFIED", "Nothing is disclosed before it is recorded by which two different methods the recipient was verified.").WithField("disclosure.verification", "must name two different methods")
	errSuspendable    = errs.New(errs.KindPrecondition, "NOT_SUSPENDABLE", "An agency or official may suspend accountings of disclosures to law enforcement and health oversight only.")
	errSuspension     = errs.New(errs.KindInvalid, "SUSPENSION_INVALID", "A written statement names the end of its period; an oral one suspends for 30 days at most.").WithField("suspension.until_time", "must be after the statement, and within 30 days of an oral one")
	errLarge          = errs.New(errs.KindPrecondition, "ACCOUNTING_TOO_LARGE", "This accounting has more than 3 MiB: state a later from_time, or export the chart, which holds the whole accounting.")
	errTooFar         = errs.New(errs.KindInvalid, "BEYOND_SIX_YEARS", "An accounting goes back six years at most.").WithField("from_time", "must be within the last six years")
)

// Disclose records a disclosure.
func (r *Rights) Disclose(ctx context.Context, patient uuid.UUID, in *Disclosure) (*Disclosure, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	at := Place{Patient: patient}
	told, err := r.past(in.GetDiscloseTime())
	if err != nil {
		return nil, err
	}
	verified, err := r.verification(who, in.GetVerification())
	if err != nil {
		return nil, r.refuse(ctx, errRecipient, disclosures.about(at, 0))
	}
	owner, _, err := disclosures.find(ctx, r, who, at)
	if err != nil {
		return nil, err
	}
	with, err := r.authorised(ctx, who, patient, in)
	if err != nil {
		return nil, err
	}
	msg := &Disclosure{
		DiscloseTime: told, Recipient: in.GetRecipient(), RecipientAddress: in.GetRecipientAddress(), Description: in.GetDescription(),
		Basis: in.GetBasis(), Purpose: in.GetPurpose(), Verification: verified, Consent: in.GetConsent(), Resources: in.GetResources(),
	}
	if msg.Statements, err = r.disagreements(ctx, who, patient, in.GetResources()); err != nil {
		return nil, err
	}
	return shownDisclosure(disclosures.add(ctx, r, who, owner, disclosures.fresh(r, patient, msg), with))
}

// authorised checks the consent that a disclosure rests on, and has it checked again in the
// transaction of the disclosure: a withdrawal counts at once.
func (r *Rights) authorised(ctx context.Context, who actor, patient uuid.UUID, d *Disclosure) (rider, error) {
	if d.GetBasis() != recordsv1.DisclosureBasis_DISCLOSURE_BASIS_AUTHORISATION {
		if d.GetConsent() != "" {
			return rider{}, errConsentStray
		}
		return rider{}, nil
	}
	refuse := func(why error) (rider, error) {
		return rider{}, r.refuse(ctx, why, disclosures.about(Place{Patient: patient}, 0))
	}
	id, ok := fhir.ParseUUID(strings.TrimPrefix(d.GetConsent(), "patients/"+patient.String()+"/consents/"))
	if !ok {
		return refuse(errConsentMissing)
	}
	_, e, err := consents.find(ctx, r, who, Place{patient, id})
	switch {
	case errs.KindOf(err) == errs.KindNotFound:
		return rider{}, errConsentMissing // find has left the event
	case err != nil:
		return rider{}, err
	case !r.active(e.msg):
		return refuse(errConsentMissing)
	case index.Name(e.msg.GetGrantee()) != index.Name(d.GetRecipient()):
		return refuse(errConsentOther)
	}
	var now store.RightsRow
	var found bool
	return rider{
		queue: func(b *pgx.Batch) {
			store.ReadRights(b, who.viewer.Practice, patient, store.TypePatientConsent, id, &now, &found)
		},
		check: func() error {
			if !found || now.Version != e.row.Version {
				return errConsentMissing
			}
			return nil
		},
	}, nil
}

// disagreements are the requests whose statements go with what is disclosed: refused
// amendments of it that the person disagrees with (45 CFR 164.526(d)(5)).
func (r *Rights) disagreements(ctx context.Context, who actor, patient uuid.UUID, resources []string) ([]string, error) {
	var names []string
	err := requests.each(ctx, r, who, patient, func(e entry[*Request]) error {
		if disagrees(e.msg) && (len(resources) == 0 || slices.Contains(resources, e.msg.GetResource())) {
			names = append(names, requests.name(Place{patient, e.row.ID}))
		}
		return nil
	})
	return names, err
}

func disagrees(m *Request) bool {
	return m.GetKind() == recordsv1.RightsKind_RIGHTS_KIND_AMENDMENT && m.GetDecision() != nil && !m.GetDecision().GetGranted() && len(m.GetStatements()) > 0
}

// Disclosures lists the ledger of a patient, newest first, and returns the token of the next page, empty at the end.
func (r *Rights) Disclosures(ctx context.Context, patient uuid.UUID, page chart.Page) ([]*Disclosure, string, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, "", err
	}
	list, next, err := disclosures.list(ctx, r, who, patient, page)
	return listed(list, next, err, shownDisclosure)
}

// Suspend keeps a disclosure out of accountings for a time.
func (r *Rights) Suspend(ctx context.Context, at Place, in *recordsv1.Suspension) (*Disclosure, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	stated, err := r.past(in.GetStateTime())
	if err != nil {
		return nil, err
	}
	until := instant(in.GetUntilTime())
	if in.GetOral() && until.IsZero() {
		until = stated.AsTime().Add(oralSuspension)
	}
	if !until.After(stated.AsTime()) || in.GetOral() && until.Sub(stated.AsTime()) > oralSuspension {
		return nil, errSuspension
	}
	return shownDisclosure(disclosures.change(ctx, r, who, at, func(m *Disclosure) error {
		switch m.GetBasis() {
		case recordsv1.DisclosureBasis_DISCLOSURE_BASIS_LAW_ENFORCEMENT, recordsv1.DisclosureBasis_DISCLOSURE_BASIS_HEALTH_OVERSIGHT:
		default:
			return errSuspendable
		}
		m.Suspension = &recordsv1.Suspension{Official: in.GetOfficial(), Oral: in.GetOral(), StateTime: stated, UntilTime: timestamppb.New(until)}
		return nil
	}, rider{}))
}

// Account is the accounting of disclosures since then, of six years at most.
func (r *Rights) Account(ctx context.Context, patient uuid.UUID, from *timestamppb.Timestamp) (*recordsv1.AccountingOfDisclosures, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	earliest := r.now().AddDate(-ledgerYears, 0, 0)
	since := earliest
	if from != nil {
		if since = from.AsTime(); !from.IsValid() || since.Before(earliest) {
			return nil, errTooFar
		}
	}
	at := Place{Patient: patient}
	if _, _, err := disclosures.find(ctx, r, who, at); err != nil {
		return nil, err
	}
	out, err := r.accounting(ctx, who, patient, since)
	if err != nil {
		return nil, err
	}
	if proto.Size(out) > maxAccounting {
		return nil, r.refuse(ctx, errLarge, disclosures.about(at, 0))
	}
	return out, disclosures.tell(ctx, r, at, evidence.Count(len(out.GetEntries())))
}

// accounting reads the whole ledger: none of what is to be accounted for may be missing.
func (r *Rights) accounting(ctx context.Context, who actor, patient uuid.UUID, since time.Time) (*recordsv1.AccountingOfDisclosures, error) {
	now := r.now()
	out := &recordsv1.AccountingOfDisclosures{FromTime: timestamppb.New(since), UntilTime: timestamppb.New(now)}
	err := disclosures.each(ctx, r, who, patient, func(e entry[*Disclosure]) error {
		d := e.msg
		if !accountable(d.GetBasis()) || d.GetDiscloseTime().AsTime().Before(since) || now.Before(instant(d.GetSuspension().GetUntilTime())) {
			return nil
		}
		out.Entries = append(out.Entries, &recordsv1.AccountingEntry{
			DiscloseTime: d.GetDiscloseTime(), Recipient: d.GetRecipient(), RecipientAddress: d.GetRecipientAddress(),
			Description: d.GetDescription(), Purpose: d.GetPurpose(),
		})
		return nil
	})
	return out, err
}

// accountable leaves out what 164.528(a)(1) leaves out: treatment, payment and operations,
// to the person, and by the person's authorisation.
func accountable(b recordsv1.DisclosureBasis) bool {
	switch b {
	case recordsv1.DisclosureBasis_DISCLOSURE_BASIS_TREATMENT, recordsv1.DisclosureBasis_DISCLOSURE_BASIS_PAYMENT,
		recordsv1.DisclosureBasis_DISCLOSURE_BASIS_OPERATIONS, recordsv1.DisclosureBasis_DISCLOSURE_BASIS_INDIVIDUAL,
		recordsv1.DisclosureBasis_DISCLOSURE_BASIS_AUTHORISATION:
		return false
	}
	return true
}

func shownDisclosure(e entry[*Disclosure], err error) (*Disclosure, error) {
	if err != nil {
		return nil, err
	}
	m := proto.Clone(e.msg).(*Disclosure)
	m.Name, m.CreateTime = disclosures.name(Place{e.row.Patient, e.row.ID}), timestamppb.New(e.row.Created)
	return m, nil
}
