package rights

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/policy"
)

const (
	// exportChunk is how much of the zip leaves at a time, well below gRPC's 4 MiB.
	exportChunk = 256 << 10
	// claimTime is how long an export keeps others from using its token: as long as its RPC may take.
	claimTime = time.Hour
	// finishing bounds what is noted after a client has gone.
	finishing = 10 * time.Second
)

var (
	errNoExport   = errs.New(errs.KindPrecondition, "NO_EXPORT_ASKED", "Only a request for access or portability is answered by an export.")
	errNotGranted = errs.New(errs.KindPrecondition, "REQUEST_NOT_GRANTED", "The request is not granted: decide it first.")
)

// Export writes the chart as a zip for a user, who hands it over: without the types that
// the user may not read.
func (r *Rights) Export(ctx context.Context, at Place, out io.Writer) error {
	who, err := caller(ctx)
	if err != nil {
		return err
	}
	return r.export(ctx, who, at, out, func(*pgx.Batch, *bool) {})
}

// ExportByToken writes the whole chart as a zip for the holder of a token, once. An export that
// did not get through can be begun again.
func (r *Rights) ExportByToken(ctx context.Context, token, address string, out io.Writer) error {
	now := r.now()
	until := now.Add(claimTime)
	ctx, who, err := r.use(ctx, token, address, func(b *pgx.Batch, who bearer, kept *store.PatientToken, found *bool) {
		store.ClaimExport(b, who.viewer.Practice, who.hash, now, until, kept, found)
	})
	if err != nil {
		return err
	}
	end := func(delivered bool) func(b *pgx.Batch, done *bool) {
		return func(b *pgx.Batch, done *bool) {
			store.EndExport(b, who.viewer.Practice, who.hash, until, delivered, r.now(), done)
		}
	}
	if err = r.export(ctx, who.actor, who.at, out, end(true)); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	var done bool
	// Where this fails the claim ends by itself.
	_ = r.inside(ctx, who.actor, func(b *pgx.Batch) { end(false)(b, &done) })
	return err
}

// export commits evidence that the chart is about to leave, writes it, and only when all of it
// has left notes the delivery: in the request, the ledger and what end ends.
func (r *Rights) export(ctx context.Context, who actor, at Place, out io.Writer, end func(*pgx.Batch, *bool)) error {
	_, e, err := requests.find(ctx, r, who, at)
	if err != nil {
		return err
	}
	if err := exportable(e.msg); err != nil {
		return r.refuse(ctx, err, requests.about(at, 0))
	}
	if err := requests.tell(ctx, r, at, evidence.Reason("EXPORT_STARTED")); err != nil {
		return err
	}
	hash := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(hash, out), exportChunk)
	written, err := r.write(ctx, who, at, buffered)
	if err == nil {
		err = buffered.Flush()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	if err != nil {
		return r.refuse(ctx, err, requests.about(at, 0))
	}
	return r.delivered(ctx, who, at, &recordsv1.Delivery{
		DeliverTime: timestamppb.New(r.now()), Sha256: hex.EncodeToString(hash.Sum(nil)), Resources: int64(written), ByToken: who.byToken(),
	}, end)
}

// exportable says why a request is not answered by an export (claim DX-33).
func exportable(m *Request) error {
	switch {
	case m.GetKind() != recordsv1.RightsKind_RIGHTS_KIND_ACCESS && m.GetKind() != recordsv1.RightsKind_RIGHTS_KIND_PORTABILITY:
		return errNoExport
	case m.GetVerification() == nil:
		return errUnverified
	case !m.GetDecision().GetGranted():
		return errNotGranted
	}
	return nil
}

// delivered notes that an export has left whole. The person has it by then, so a change of the request
// meanwhile must not keep it from being noted.
func (r *Rights) delivered(ctx context.Context, who actor, at Place, d *recordsv1.Delivery, end func(*pgx.Batch, *bool)) error {
	const tries = 3
	for try := 1; ; try++ {
		err := r.note(ctx, who, at, d, end)
		if errs.ReasonOf(err) != errs.ReasonOf(errBusy) || try == tries {
			return err
		}
	}
}

func (r *Rights) note(ctx context.Context, who actor, at Place, d *recordsv1.Delivery, end func(*pgx.Batch, *bool)) error {
	owner, e, err := requests.find(ctx, r, who, at)
	if err != nil {
		return err
	}
	e.msg.Deliveries = append(e.msg.Deliveries, d)
	e.row.Version++
	e.row.Updated = r.now()
	entry := disclosures.fresh(r, at.Patient, &Disclosure{
		DiscloseTime: d.GetDeliverTime(), Recipient: "The person, or who stands for them", Description: "Export of the chart",
		Basis: recordsv1.DisclosureBasis_DISCLOSURE_BASIS_INDIVIDUAL, Purpose: "Request of the individual",
		Verification: e.msg.GetVerification(), RightsRequest: requests.name(at),
	})
	row, err := r.seal(ctx, who.viewer.Practice, owner, entry.row, entry.msg)
	if err != nil {
		return err
	}
	listed, ended := false, true
	_, err = requests.add(ctx, r, who, owner, e, rider{
		queue: func(b *pgx.Batch) {
			store.AppendRights(b, who.viewer, row, &listed)
			end(b, &ended)
		},
		check: func() error {
			if !listed || !ended {
				return errBusy
			}
			return nil
		},
		mods: []func(*auditv1.Event){evidence.Reason("EXPORT_DELIVERED"), evidence.Count(int(d.GetResources()))},
	})
	return err
}

// may says which types the actor's export holds.
func (a actor) may(resourceType string) bool {
	return a.byToken() || policy.MayRead(a.view, resourceType)
}

func (a actor) holds(p accessv1.Permission) bool { return a.byToken() || a.view.Held.Has(p) }

// write writes the zip, and returns how many resources are in it.
func (r *Rights) write(ctx context.Context, who actor, at Place, out io.Writer) (int, error) {
	a := newArchive(out, r.now(), at)
	err := r.chart.Each(ctx, who.viewer, at.Patient, func(resourceType string) bool {
		ok := who.may(resourceType)
		if !ok {
			a.omit(resourceType)
		}
		return ok
	}, func(d chart.Document) error { return a.resource(d) })
	if err != nil {
		return 0, err
	}
	if err := r.documents(ctx, who, at.Patient, a); err != nil {
		return 0, err
	}
	kept, err := r.kept(ctx, who, at.Patient, a)
	if err != nil {
		return 0, err
	}
	return a.resources, a.close(kept)
}

// documents adds the patient's files, each under its id and its name.
func (r *Rights) documents(ctx context.Context, who actor, patient uuid.UUID, a *archive) error {
	keep := func() bool {
		if who.byToken() || who.holds(accessv1.Permission_PERMISSION_DOCUMENTS_READ) &&
			policy.CheckContent(who.view, &recordsv1.DownloadDocumentResponse{}, "chunk") == nil {
			return true
		}
		a.omit("Document")
		return false
	}
	return r.chart.EachFile(ctx, who.viewer, patient, keep, func(d chart.Document) error {
		f, err := attach.Parse(d)
		if err != nil {
			return err
		}
		clear(f.Key)
		if err := a.open("documents/"+d.ID.String()+"/"+f.Name, ""); err != nil {
			return err
		}
		return r.files.Copy(ctx, who.viewer.Practice, d, a.current)
	})
}

// kept adds what this package keeps of the patient and the actor may read, and returns it for the summary.
func (r *Rights) kept(ctx context.Context, who actor, patient uuid.UUID, a *archive) (out kept, err error) {
	if who.holds(accessv1.Permission_PERMISSION_RIGHTS_READ) {
		if err := requests.each(ctx, r, who, patient, func(e entry[*Request]) error {
			m, err := r.forPerson(r.shown(e, nil))
			out.requests = append(out.requests, m)
			return err
		}); err != nil {
			return out, err
		}
		if err := a.message("requests.json", &recordsv1.ListRightsRequestsResponse{RightsRequests: out.requests}); err != nil {
			return out, err
		}
	}
	if who.holds(accessv1.Permission_PERMISSION_DISCLOSURES_READ) {
		if out.accounting, err = r.accounting(ctx, who, patient, r.now().AddDate(-ledgerYears, 0, 0)); err != nil {
			return out, err
		}
		if err := a.message("accounting-of-disclosures.json", out.accounting); err != nil {
			return out, err
		}
	}
	if who.holds(accessv1.Permission_PERMISSION_PATIENT_CONSENTS_READ) {
		list := &recordsv1.ListPatientConsentsResponse{}
		if err := consents.each(ctx, r, who, patient, func(e entry[*Consent]) error {
			m, err := r.shownConsent(e, nil)
			list.Consents = append(list.Consents, m)
			return err
		}); err != nil {
			return out, err
		}
		return out, a.message("consents.json", list)
	}
	return out, nil
}
