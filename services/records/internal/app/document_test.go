package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func (h *house) documents() recordsv1.DocumentServiceClient {
	return recordsv1.NewDocumentServiceClient(h.conn)
}

// scan is a PDF of n bytes with words that must lie nowhere in the clear.
func scan(n int) []byte {
	return append([]byte("%PDF-1.7\nHemiparesis"), bytes.Repeat([]byte("Hemiparesis "), n/12)...)[:n]
}

func (h *house) upload(ctx context.Context, o *recordsv1.UploadDocumentOptions, content []byte) (*recordsv1.Document, error) {
	h.t.Helper()
	stream, err := h.documents().UploadDocument(ctx)
	require.NoError(h.t, err)
	err = stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Options{Options: o}})
	for ; err == nil && len(content) > 0; content = content[min(len(content), 1<<20):] {
		err = stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Chunk{Chunk: content[:min(len(content), 1<<20)]}})
	}
	return stream.CloseAndRecv()
}

func (h *house) fetch(ctx context.Context, name string) (out []byte, err error) {
	h.t.Helper()
	stream, err := h.documents().DownloadDocument(ctx, &recordsv1.DownloadDocumentRequest{Name: name})
	require.NoError(h.t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m.GetChunk()...)
	}
}

func TestLifeOfADocument(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	ctx, patient := h.as(doctor), h.patient(doctor).GetName()
	content := scan(2<<20 + 5)
	sum := sha256.Sum256(content)
	options := &recordsv1.UploadDocumentOptions{
		Parent: patient, FileName: "Hemiparesis.pdf", MediaType: "application/pdf", Sha256: hex.EncodeToString(sum[:]), RequestId: uuid.NewString(),
	}
	var d *recordsv1.Document
	events := h.since(func() {
		var err error
		d, err = h.upload(ctx, options, content)
		require.NoError(t, err)
	})
	id := lastPart(d.GetName())
	require.Equal(t, "documents/"+id, events[0].GetResource())
	require.Len(t, events, 1)
	require.EqualValues(t, len(content), d.GetSizeBytes())
	again, err := h.upload(ctx, options, content)
	require.NoError(t, err)
	require.Equal(t, d.String(), again.String(), "a repeated request makes nothing")
	list, err := h.documents().ListDocuments(ctx, &recordsv1.ListDocumentsRequest{Parent: patient})
	require.NoError(t, err)
	require.Len(t, list.GetDocuments(), 1)
	require.Equal(t, d.String(), list.GetDocuments()[0].String())
	got, err := h.fetch(ctx, d.GetName())
	require.NoError(t, err)
	require.Equal(t, sum, sha256.Sum256(got))

	// The key of the file leaves by no way: FHIR has no such type.
	_, err = h.client.GetResource(ctx, &recordsv1.GetResourceRequest{Type: "StoredFile", Id: id})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	for file, bytesOf := range h.stores() {
		require.False(t, bytes.Contains(bytesOf, []byte("Hemiparesis")), file)
	}

	for _, name := range []string{d.GetName(), patient + "/documents/" + uuid.NewString()} {
		_, err = h.fetch(h.as(stranger), name)
		require.Equal(t, codes.NotFound, status.Code(err))
		_, err = h.documents().GetDocument(h.as(stranger), &recordsv1.GetDocumentRequest{Name: name})
		require.Equal(t, codes.NotFound, status.Code(err))
		_, err = h.documents().DeleteDocument(h.as(stranger), &recordsv1.DeleteDocumentRequest{Name: name})
		require.Equal(t, codes.NotFound, status.Code(err))
	}
	_, err = h.upload(h.as(stranger), &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "x.pdf", MediaType: "application/pdf"}, content)
	require.Equal(t, codes.NotFound, status.Code(err))

	// A purpose that needs no documents gets none, and no names of them.
	payer := *doctor
	payer.Purpose = accessv1.Purpose_PURPOSE_PAYMENT
	paid := h.as(&payer)
	_, err = h.fetch(paid, d.GetName())
	require.Equal(t, "CONTENT_NOT_FOR_PURPOSE", errs.ReasonOf(err))
	_, err = h.upload(paid, options, content)
	require.Equal(t, "CONTENT_NOT_FOR_PURPOSE", errs.ReasonOf(err))
	shown, err := h.documents().GetDocument(paid, &recordsv1.GetDocumentRequest{Name: d.GetName()})
	require.NoError(t, err)
	require.Empty(t, shown.GetFileName()+shown.GetMediaType()+shown.GetSha256())

	_, err = h.documents().DeleteDocument(ctx, &recordsv1.DeleteDocumentRequest{Name: d.GetName(), Etag: d.GetEtag()})
	require.NoError(t, err)
	_, err = h.fetch(ctx, d.GetName())
	require.Equal(t, codes.NotFound, status.Code(err))
}

// Of an upload that is refused or breaks off nothing stays.
func TestBrokenUploadsLeaveNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	patient := h.patient(doctor).GetName()
	options := func(change func(*recordsv1.UploadDocumentOptions)) *recordsv1.UploadDocumentOptions {
		o := &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "scan.pdf", MediaType: "application/pdf"}
		change(o)
		return o
	}
	for reason, o := range map[string]*recordsv1.UploadDocumentOptions{
		"DIGEST_MISMATCH":   options(func(o *recordsv1.UploadDocumentOptions) { o.Sha256 = hex.EncodeToString(make([]byte, 32)) }),
		"CONTENT_MISMATCH":  options(func(o *recordsv1.UploadDocumentOptions) { o.MediaType = "image/png" }),
		"FILE_NAME_INVALID": options(func(o *recordsv1.UploadDocumentOptions) { o.FileName = "../scan.pdf" }),
	} {
		_, err := h.upload(h.as(doctor), o, scan(2<<20))
		require.Equal(t, reason, errs.ReasonOf(err))
	}
	_, err := h.upload(h.as(doctor), options(func(o *recordsv1.UploadDocumentOptions) { o.MediaType = "audio/mpeg" }), scan(100))
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	// The client goes away in the middle.
	ctx, cancel := context.WithCancel(h.as(doctor))
	stream, err := h.documents().UploadDocument(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Options{Options: options(func(*recordsv1.UploadDocumentOptions) {})}}))
	require.NoError(t, stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Chunk{Chunk: scan(1 << 20)}}))
	require.Eventually(t, func() bool { return len(h.sql("SELECT FROM document_pieces")) > 0 }, patience, tick)
	before := len(h.events())
	cancel()
	require.Eventually(t, func() bool { return len(h.sql("SELECT FROM document_pieces"))+len(h.sql("SELECT FROM uploads")) == 0 }, patience, tick)
	require.Empty(t, h.sql("SELECT FROM documents WHERE type <> 'Patient'"))
	require.Eventually(t, func() bool {
		left := h.events()[before:]
		return len(left) == 1 && left[0].GetMethod() == recordsv1.DocumentService_UploadDocument_FullMethodName &&
			left[0].GetOutcome() == auditv1.Outcome_OUTCOME_FAILED && left[0].GetUserId() == doctor.User.String()
	}, patience, tick, "the event of what broke off")

	// What a killed service left goes with the next upload, a day later.
	h.tamper("INSERT INTO uploads VALUES ($1, $2, $2, now() - interval '25 hours')", h.practice, uuid.New())
	h.tamper("INSERT INTO document_pieces SELECT practice_id, document_id, 0, patient_id, 'x' FROM uploads")
	_, err = h.upload(h.as(doctor), options(func(*recordsv1.UploadDocumentOptions) {}), scan(100))
	require.NoError(t, err)
	require.Equal(t, [][]any{{int64(1)}}, h.sql("SELECT count(*) FROM document_pieces"))
	require.Empty(t, h.sql("SELECT FROM uploads"))
}

// A stored file that was changed or cut ends in DATA_LOSS and a critical event, and its
// end does not leave.
func TestDH17_BrokenDocumentsRaiseAnAlarm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	patient, content := h.patient(doctor).GetName(), scan(2<<20)
	for _, damage := range []string{
		"UPDATE document_pieces SET sealed = set_byte(sealed, 1000, get_byte(sealed, 1000) # 1) WHERE document_id = $1 AND piece = 2",
		"DELETE FROM document_pieces WHERE document_id = $1 AND piece = 4",
		"UPDATE document_pieces SET piece = 9 - piece WHERE document_id = $1 AND piece < 3",
		"DELETE FROM document_pieces WHERE document_id = $1",
	} {
		d, err := h.upload(h.as(doctor), &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "scan.pdf", MediaType: "application/pdf"}, content)
		require.NoError(t, err)
		h.tamper(damage, uuid.MustParse(lastPart(d.GetName())))
		events := h.since(func() {
			got, err := h.fetch(h.as(doctor), d.GetName())
			require.Equal(t, codes.DataLoss, status.Code(err), damage)
			require.Less(t, len(got), len(content))
			require.True(t, bytes.HasPrefix(content, got), damage)
		})
		last := events[len(events)-1]
		require.Equal(t, auditv1.Risk_RISK_CRITICAL, last.GetRisk(), damage)
		require.Equal(t, "SEAL_BROKEN", last.GetReason())
		require.Equal(t, accessv1.Action_ACTION_READ, last.GetAction())
	}
}

// Documents of another practice, and of a patient whom the caller does not see, are those of nobody, for every RPC.
func TestDMD06_DH55_DocumentsAreIsolated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	foreign := h.user(accessv1.RoleKind_ROLE_KIND_DOCTOR, everything())
	foreign.Practice, foreign.User = uuid.New(), doctor.User
	patient, other := h.patient(doctor).GetName(), h.patient(doctor).GetName()
	d, err := h.upload(h.as(doctor), &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "scan.pdf", MediaType: "application/pdf"}, scan(100))
	require.NoError(t, err)
	attempts := map[string]func(context.Context, string, string) error{
		"UploadDocument": func(ctx context.Context, parent, _ string) error {
			_, err := h.upload(ctx, &recordsv1.UploadDocumentOptions{Parent: parent, FileName: "x.pdf", MediaType: "application/pdf"}, scan(100))
			return err
		},
		"GetDocument": func(ctx context.Context, _, name string) error {
			_, err := h.documents().GetDocument(ctx, &recordsv1.GetDocumentRequest{Name: name})
			return err
		},
		"ListDocuments": func(ctx context.Context, parent, _ string) error {
			_, err := h.documents().ListDocuments(ctx, &recordsv1.ListDocumentsRequest{Parent: parent})
			return err
		},
		"DownloadDocument": func(ctx context.Context, _, name string) error {
			_, err := h.fetch(ctx, name)
			return err
		},
		"DeleteDocument": func(ctx context.Context, _, name string) error {
			_, err := h.documents().DeleteDocument(ctx, &recordsv1.DeleteDocumentRequest{Name: name})
			return err
		},
	}
	require.Len(t, attempts, len(recordsv1.DocumentService_ServiceDesc.Methods)+len(recordsv1.DocumentService_ServiceDesc.Streams))
	nobody := "patients/" + uuid.NewString()
	for name, call := range attempts {
		for _, who := range []*user{stranger, foreign} {
			atTheirs, atRandom := call(h.as(who), patient, d.GetName()), call(h.as(who), nobody, nobody+"/documents/"+uuid.NewString())
			require.Equal(t, codes.NotFound, status.Code(atTheirs), name)
			require.Equal(t, status.Convert(atRandom).Proto().String(), status.Convert(atTheirs).Proto().String(), name)
		}
	}
	// Nor is it found in the chart of another patient of the same doctor.
	_, err = h.fetch(h.as(doctor), other+"/documents/"+lastPart(d.GetName()))
	require.Equal(t, codes.NotFound, status.Code(err))
	got, err := h.fetch(h.as(doctor), d.GetName())
	require.NoError(t, err)
	require.Equal(t, scan(100), got)
}

// A file goes with its chart: under a new data key it opens, a scrub reads it and finds what was
// changed, the practice's export holds its bytes and not its key, and an erasure leaves nothing of it.
func TestDH54_FilesGoWithTheirChart(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor, admin := l.doctor(), l.house.admin()
	patient, other := l.patient(doctor).GetName(), l.patient(doctor).GetName()
	content := scan(700 << 10)
	upload := func(parent string) *recordsv1.Document {
		d, err := l.upload(l.as(doctor), &recordsv1.UploadDocumentOptions{Parent: parent, FileName: "scan.pdf", MediaType: "application/pdf"}, content)
		require.NoError(t, err)
		return d
	}
	d, theirs, gone := upload(patient), upload(other), upload(patient)
	_, err := l.documents().DeleteDocument(l.as(doctor), &recordsv1.DeleteDocumentRequest{Name: gone.GetName()})
	require.NoError(t, err)

	j, err := l.keys.RotateDataKey(l.as(admin), &recordsv1.RotateDataKeyRequest{Patient: patient})
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, l.finished(admin, j, err).GetState())
	l.restart()
	l.redial()
	got, err := l.fetch(l.as(doctor), d.GetName())
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	job, critical := l.scrubbed(admin)
	require.Equal(t, recordsv1.KeyJob_STATE_DONE, job.GetState(), "%v", critical)

	for _, damaged := range []*recordsv1.Document{theirs, gone} { // a deleted one as well: it is kept
		id := uuid.MustParse(lastPart(damaged.GetName()))
		l.tamper("CREATE TABLE kept AS SELECT * FROM document_pieces WHERE document_id = $1", id)
		l.tamper("UPDATE document_pieces p SET sealed = o.sealed FROM document_pieces o WHERE p.document_id = $1 AND o.document_id = $2 AND o.piece = p.piece",
			id, uuid.MustParse(lastPart(d.GetName())))
		job, critical = l.scrubbed(admin)
		require.Equal(t, recordsv1.KeyJob_STATE_BROKEN, job.GetState())
		require.Len(t, critical, 1)
		require.Equal(t, "documents/"+id.String(), critical[0].GetResource())
		l.tamper("UPDATE document_pieces p SET sealed = k.sealed FROM kept k WHERE p.document_id = k.document_id AND p.piece = k.piece")
		l.tamper("DROP TABLE kept")
	}

	_, err = l.client.RequestPracticeExit(l.as(l.first), &recordsv1.RequestPracticeExitRequest{})
	require.NoError(t, err)
	_, err = l.client.ApprovePracticeExit(l.as(l.next), &recordsv1.ApprovePracticeExitRequest{})
	require.NoError(t, err)
	lines, _, err := l.export(l.first)
	require.NoError(t, err)
	require.Equal(t, content, exported(t, lines, lastPart(d.GetName())))
	require.NotContains(t, lines, `"key":`)

	l.aged(patient, longAgo)
	_, err = l.grant(l.next, l.request(patient))
	require.NoError(t, err)
	require.Empty(t, l.sql("SELECT FROM document_pieces WHERE patient_id = $1", uuid.MustParse(lastPart(patient))))
	_, err = l.fetch(l.as(doctor), d.GetName())
	require.Equal(t, codes.NotFound, status.Code(err))
	got, err = l.fetch(l.as(doctor), theirs.GetName())
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got), "another patient's stays")
}

// exported joins the parts of a file in a practice's export.
func exported(t *testing.T, lines, id string) (out []byte) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var part struct {
			File string
			At   int
			Data []byte
		}
		require.NoError(t, json.Unmarshal([]byte(line), &part))
		if part.File == id {
			require.Len(t, out, part.At)
			out = append(out, part.Data...)
		}
	}
	return out
}
