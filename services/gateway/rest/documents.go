package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

// The routes of a document's content are written by hand: bytes as they are, in neither direction held as a whole.
const (
	uploadPath   = "/v1/{parent=patients/*}/documents"
	downloadPath = "/v1/{name=patients/*/documents/*}/content"
)

const (
	digestHeader      = "Content-Digest"
	dispositionHeader = "Content-Disposition"
)

// documents streams files of patients.
type documents struct {
	client recordsv1.DocumentServiceClient
	stall  time.Duration
}

var (
	errFileName = errs.New(errs.KindInvalid, "FILE_NAME_MISSING",
		`name the file in a header, for a URL is logged: Content-Disposition: attachment; filename="scan.pdf"`)
	errDigest = errs.New(errs.KindInvalid, "DIGEST_MALFORMED", "Content-Digest must be sha-256=:base64 of the SHA-256 of the body:")
)

// options are what the headers say of an upload (RFC 6266 and RFC 9530).
func uploadOptions(r *http.Request, parent string) (*recordsv1.UploadDocumentOptions, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, errs.New(errs.KindInvalid, reasonBodyType, "set Content-Type to the document's media type")
	}
	kind, parameters, err := mime.ParseMediaType(r.Header.Get(dispositionHeader))
	if err != nil || kind != "attachment" || parameters["filename"] == "" {
		return nil, errFileName
	}
	o := &recordsv1.UploadDocumentOptions{
		Parent: parent, FileName: parameters["filename"], MediaType: mediaType, RequestId: r.URL.Query().Get("requestId"),
	}
	if text := r.Header.Get(digestHeader); text != "" {
		inner, ok := strings.CutPrefix(text, "sha-256=:")
		inner, closed := strings.CutSuffix(inner, ":")
		sum, err := base64.StdEncoding.DecodeString(inner)
		if !ok || !closed || err != nil || len(sum) != sha256.Size {
			return nil, errDigest
		}
		o.Sha256 = hex.EncodeToString(sum)
	}
	return o, nil
}

func (d *documents) upload(w http.ResponseWriter, r *http.Request, params map[string]string) {
	options, err := uploadOptions(r, params["parent"])
	if err != nil {
		Fail(w, r, err)
		return
	}
	stream, err := d.client.UploadDocument(r.Context())
	if err != nil {
		Fail(w, r, err)
		return
	}
	err = stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Options{Options: options}})
	body := reading{body: r.Body, control: http.NewResponseController(w), stall: d.stall}
	for err == nil {
		var data []byte
		data, err = body.next()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			Fail(w, r, err) // the stream ends with the request, and nothing is kept
			return
		}
		if len(data) > 0 {
			err = stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Chunk{Chunk: data}})
		}
		if last {
			break
		}
	}
	// Where records ended the stream early, the reason comes with its answer.
	made, err := stream.CloseAndRecv()
	if err != nil {
		Fail(w, r, err)
		return
	}
	text, err := codec{}.Marshal(made)
	if err != nil {
		Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(text) // a client that is gone finds the document in the list
}

func (d *documents) download(w http.ResponseWriter, r *http.Request, params map[string]string) {
	stream, err := d.client.DownloadDocument(r.Context(), &recordsv1.DownloadDocumentRequest{Name: params["name"]})
	if err != nil {
		Fail(w, r, err)
		return
	}
	first, err := stream.Recv()
	if err != nil {
		Fail(w, r, err)
		return
	}
	describe(w.Header(), first.GetDocument())
	pour(w, d.stall, func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetChunk(), err
	})
}

// describe says what the content is: a file to keep, which no browser is to show in the API's origin.
func describe(h http.Header, d *recordsv1.Document) {
	h.Set("Content-Type", d.GetMediaType())
	h.Set("Content-Length", strconv.FormatInt(d.GetSizeBytes(), 10))
	h.Set(dispositionHeader, mime.FormatMediaType("attachment", map[string]string{"filename": d.GetFileName()}))
	h.Set("ETag", strconv.Quote(d.GetEtag()))
	if sum, err := hex.DecodeString(d.GetSha256()); err == nil {
		h.Set(digestHeader, "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
}
