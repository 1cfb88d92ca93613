package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

type (
	uploadStream   = recordsv1.DocumentService_UploadDocumentServer
	downloadStream = recordsv1.DocumentService_DownloadDocumentServer
)

// documentHandlers is a DocumentService that the tests fill in.
type documentHandlers struct {
	recordsv1.UnimplementedDocumentServiceServer
	upload   func(uploadStream) error
	download func(*recordsv1.DownloadDocumentRequest, downloadStream) error
}

func (d *documentHandlers) UploadDocument(s uploadStream) error {
	if d.upload == nil {
		return status.Error(codes.Unimplemented, "no upload in this test")
	}
	committed(s.Context())
	return d.upload(s)
}

func (d *documentHandlers) DownloadDocument(r *recordsv1.DownloadDocumentRequest, s downloadStream) error {
	if d.download == nil {
		return status.Error(codes.Unimplemented, "no download in this test")
	}
	committed(s.Context())
	return d.download(r, s)
}

// A document arrives byte for byte in pieces, with what its headers say; the name stands in no URL.
func TestDocumentsAreUploadedAsBytes(t *testing.T) {
	s := newSuite(t)
	var options *recordsv1.UploadDocumentOptions
	sum := sha256.New()
	pieces := 0
	s.documents.upload = func(stream uploadStream) error {
		sum.Reset()
		pieces = 0
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return stream.SendAndClose(&recordsv1.Document{FileName: options.GetFileName()})
			}
			if err != nil {
				return err
			}
			if o := m.GetOptions(); o != nil {
				options = o
				continue
			}
			pieces++
			sum.Write(m.GetChunk())
		}
	}
	const n = 2 << 20
	want := sha256.New()
	_, err := io.Copy(want, &pattern{n: n})
	require.NoError(t, err)
	patient, request := "patients/"+uuid.NewString(), uuid.NewString()
	send := func(body io.Reader, headers ...string) answer {
		r := s.request(http.MethodPost, "/v1/"+patient+"/documents?requestId="+request, "", append([]string{
			"Content-Type", "application/pdf", "Content-Disposition", "attachment; filename*=UTF-8''R%C3%B6ntgen.pdf",
			"Content-Digest", "sha-256=:" + base64.StdEncoding.EncodeToString(want.Sum(nil)) + ":",
		}, headers...)...)
		r.Body, r.ContentLength = io.NopCloser(body), -1
		return s.do(s.client(true), r)
	}
	got := send(&pattern{n: n})
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.Contains(t, string(got.body), "Röntgen.pdf")
	require.Equal(t, want.Sum(nil), sum.Sum(nil))
	require.Greater(t, pieces, 1)
	require.Equal(t, &recordsv1.UploadDocumentOptions{
		Parent: patient, FileName: "Röntgen.pdf", MediaType: "application/pdf", Sha256: hex.EncodeToString(want.Sum(nil)), RequestId: request,
	}, &recordsv1.UploadDocumentOptions{
		Parent: options.GetParent(), FileName: options.GetFileName(), MediaType: options.GetMediaType(), Sha256: options.GetSha256(), RequestId: options.GetRequestId(),
	})
	for _, bad := range [][3]string{
		{"FILE_NAME_MISSING", "Content-Disposition", ""},
		{"DIGEST_MALFORMED", "Content-Digest", "md5=:AAAA:"},
		{"DIGEST_MALFORMED", "Content-Digest", "sha-256=::"},
		{"BODY_TYPE_UNSUPPORTED", "Content-Type", ""},
	} {
		require.Equal(t, bad[0], send(strings.NewReader("x"), bad[1:]...).reason(t))
	}

	s.documents.upload = func(uploadStream) error { return errs.New(errs.KindTooLarge, "DOCUMENT_TOO_LARGE", "no") }
	require.Equal(t, "DOCUMENT_TOO_LARGE", send(&pattern{n: n}).reason(t))
}

// A download is a file with its digest that no browser shows; one that breaks off breaks the connection.
func TestDocumentsAreDownloadedAsFiles(t *testing.T) {
	s := newSuite(t)
	content := bytes.Repeat([]byte("scan "), 100_000)
	sum := sha256.Sum256(content)
	var broken error
	s.documents.download = func(r *recordsv1.DownloadDocumentRequest, stream downloadStream) error {
		d := &recordsv1.Document{
			Name: r.GetName(), Etag: "v1", FileName: "a \"b\".pdf", MediaType: "application/pdf", SizeBytes: int64(len(content)), Sha256: hex.EncodeToString(sum[:]),
		}
		if err := stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Document{Document: d}}); err != nil {
			return err
		}
		for rest := content; len(rest) > 0; rest = rest[min(len(rest), 256<<10):] {
			if err := stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Chunk{Chunk: rest[:min(len(rest), 256<<10)]}}); err != nil {
				return err
			}
			if broken != nil {
				return broken
			}
		}
		return nil
	}
	path := "/v1/patients/" + uuid.NewString() + "/documents/" + uuid.NewString() + "/content"
	got := s.call(http.MethodGet, path, "")
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.True(t, bytes.Equal(content, got.body))
	requireSecure(t, "document", got.header)
	for name, value := range map[string]string{
		"Content-Type": "application/pdf", "Content-Disposition": `attachment; filename="a \"b\".pdf"`, "ETag": `"v1"`,
		"Content-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		require.Equal(t, value, got.header.Get(name))
	}
	broken = errs.New(errs.KindDataLoss, "SEAL_BROKEN", "broken")
	for _, http2 := range []bool{true, false} {
		response, err := s.client(http2).Do(s.request(http.MethodGet, path, ""))
		require.NoError(t, err)
		_, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		require.Error(t, err, "a part must not pass for the whole")
	}
}
