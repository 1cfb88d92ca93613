package app_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// A patient who is erased while a file is on its way out is gone; nobody broke a seal.
func TestDH54_ADownloadBesideAnErasureRaisesNoAlarm(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	patient := l.patient(doctor).GetName()
	d, err := l.upload(l.as(doctor), &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "scan.pdf", MediaType: "application/pdf"}, scan(24<<20))
	require.NoError(t, err)
	l.aged(patient, longAgo)
	e := l.request(patient)
	stream, err := l.documents().DownloadDocument(l.as(doctor), &recordsv1.DownloadDocumentRequest{Name: d.GetName()})
	require.NoError(t, err)
	_, err = stream.Recv() // the rest waits for this client, but for what the connection holds
	require.NoError(t, err)
	require.Empty(t, withReason(l.since(func() {
		_, err = l.grant(l.next, e)
		require.NoError(t, err)
		for err == nil {
			_, err = stream.Recv()
		}
		require.Equal(t, codes.NotFound, status.Code(err), "%v", err)
	}), "SEAL_BROKEN", auditv1.Risk_RISK_CRITICAL))
}

// An upload that runs beside an erasure leaves no piece behind: either it is erased with the patient, or it is refused.
func TestDH54_AnUploadBesideAnErasureLeavesNoPiece(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	doctor := l.doctor()
	patient := l.patient(doctor).GetName()
	id := uuid.MustParse(lastPart(patient))
	stream, err := l.documents().UploadDocument(l.as(doctor))
	require.NoError(t, err)
	content := scan(3 << 20)
	send := func(part []byte) error {
		return stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Chunk{Chunk: part}})
	}
	require.NoError(t, stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Options{
		Options: &recordsv1.UploadDocumentOptions{Parent: patient, FileName: "scan.pdf", MediaType: "application/pdf"},
	}}))
	require.NoError(t, send(content[:1<<20]))
	pieces := func() int { return len(l.sql("SELECT FROM document_pieces WHERE patient_id = $1", id)) }
	require.Eventually(t, func() bool { return pieces() > 0 }, patience, tick)
	l.aged(patient, longAgo)
	before := pieces()

	ctx := context.Background()
	conn, err := l.db.AdminConn(ctx, l.database)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT set_config('carekeep.practice', $1, true)", l.practice.String())
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT erase_patient($1, $2)", l.practice, id)
	require.NoError(t, err)
	require.NoError(t, send(content[1<<20:2<<20]))
	require.Eventually(t, func() bool { // the next piece waits for the erasure, or did not
		return pieces() > before || len(l.sql("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")) > 0
	}, patience, tick)
	require.NoError(t, tx.Commit(ctx))
	_ = send(content[2<<20:]) // the stream may be over
	_, err = stream.CloseAndRecv()
	require.Error(t, err)
	require.Zero(t, pieces())
	require.Empty(t, l.sql("SELECT FROM uploads"))
}

// What a patient's token opens is held against the marks as well. Behind it stands no account to freeze.
func TestAPatientsTokenIsHeldAgainstTheMarks(t *testing.T) {
	t.Parallel()
	h, auth := newWatchedHouse(t)
	doctor, officer, desk := h.doctor(), h.officer(), h.desk()
	f := h.file(doctor)
	r := granted(t, h.as(doctor), desk, f.patient)
	issued, err := desk.IssuePatientToken(h.as(doctor), &recordsv1.IssuePatientTokenRequest{Name: r.GetName(), ValidHours: 24})
	require.NoError(t, err)
	_, err = h.marks().SetVip(h.as(officer), &recordsv1.SetVipRequest{Name: f.patient, Vip: true})
	require.NoError(t, err)
	home := &authv1.Client{Address: "198.51.100.7"}
	view := func() {
		_, err := desk.ViewRequestByToken(t.Context(), &recordsv1.ViewRequestByTokenRequest{Token: issued.GetToken(), Client: home})
		require.NoError(t, err)
	}
	require.NotEmpty(t, withReason(h.since(view), "VIP_ACCESS", auditv1.Risk_RISK_HIGH))
	h.arm(f, true)
	require.NotEmpty(t, critical(h.since(func() {
		_, err := download(desk.ExportByToken(t.Context(), &recordsv1.ExportByTokenRequest{Token: issued.GetToken(), Client: home}))
		require.NoError(t, err)
	})))
	require.Empty(t, h.sql("SELECT FROM freezes"))
	require.Empty(t, auth.reported())
}
