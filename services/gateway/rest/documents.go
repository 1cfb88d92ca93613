package rest

import (
	"context"
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

	"google.golang.org/grpc"

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
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := d.client.UploadDocument(ctx)
	if err != nil {
		Fail(w, r, err)
		return
	}
	body := &reading{body: r.Body, control: http.NewResponseController(w), stall: d.stall}
	made, answered := new(recordsv1.Document), make(chan error, 1)
	go func() {
		err := stream.RecvMsg(made)
		body.end() // what records refuses is told at once, also to a client that waits with the rest
		answered <- err
	}()
	failed := sendDocument(stream, options, body)
	if failed != nil && !body.broken() {
		cancel()   // to end in order would tell records that the document is complete
		<-answered //nolint:errcheck // it is what was sent that failed
		Fail(w, r, failed)
		return
	}
	err = <-answered
	if body.broken() && r.ProtoMajor == 1 {
		// The answer goes out before the rest of the body is in, which is then taken for a while: a client that
		// still sends would find its connection reset, and no answer.
		w.Header().Set("Connection", "close")
		_ = body.control.SetReadDeadline(time.Now().Add(linger))
	}
	answerDocument(w, r, made, err)
}

// linger is how long the rest of a body is taken after an answer that did not wait for it.
const linger = 5 * time.Second

type documentStream = grpc.ClientStreamingClient[recordsv1.UploadDocumentRequest, recordsv1.Document]

// sendDocument sends the body on to its end, or until records has ended the stream. An error is the body's.
func sendDocument(stream documentStream, options *recordsv1.UploadDocumentOptions, body *reading) error {
	err := stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Options{Options: options}})
	for err == nil {
		var data []byte
		data, err = body.next()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if len(data) > 0 {
			if err := stream.Send(&recordsv1.UploadDocumentRequest{Item: &recordsv1.UploadDocumentRequest_Chunk{Chunk: data}}); err != nil {
				return ended(err)
			}
		}
		if last {
			return stream.CloseSend()
		}
	}
	return ended(err)
}

func answerDocument(w http.ResponseWriter, r *http.Request, made *recordsv1.Document, err error) {
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
