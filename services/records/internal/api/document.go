package api

import (
	"context"
	"errors"
	"io"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/attach"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/policy"
)

// Documents implements the document API.
type Documents struct {
	recordsv1.UnimplementedDocumentServiceServer
	chart *chart.Chart
	files *attach.Files
}

// NewDocuments makes the service.
func NewDocuments(c *chart.Chart, f *attach.Files) *Documents { return &Documents{chart: c, files: f} }

const documents = "documents"

func showDocument(d chart.Document) (*recordsv1.Document, error) {
	f, err := attach.Parse(d)
	if err != nil {
		return nil, err
	}
	clear(f.Key)
	return &recordsv1.Document{
		Name:       patients + d.Patient.String() + "/" + documents + "/" + d.ID.String(),
		CreateTime: timestamppb.New(d.Created), Etag: chart.Etag(d.Version),
		FileName: f.Name, MediaType: f.MediaType, SizeBytes: f.Size, Sha256: f.SHA256,
	}, nil
}

func documentAt(name string) (chart.Place, error) {
	list, err := ids("name", name, "patients", documents)
	if err != nil {
		return chart.Place{}, err
	}
	return chart.Place{Type: chart.TypeFile, Patient: list[0], ID: list[1]}, nil
}

type uploadStream = grpc.ClientStreamingServer[recordsv1.UploadDocumentRequest, recordsv1.Document]

var errUploadOptions = errs.New(errs.KindInvalid, "OPTIONS_FIRST", "An upload begins with its options, once, and goes on with chunks of the content.").
	WithField("item", "must be options in the first message and chunk in all others")

// UploadDocument implements the RPC.
func (s *Documents) UploadDocument(stream uploadStream) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && first.GetOptions() == nil {
		return errUploadOptions
	}
	if err != nil {
		return err
	}
	if err := contentFor(stream.Context()); err != nil {
		return err
	}
	options, err := uploadOptions(first.GetOptions())
	if err != nil {
		return err
	}
	d, err := s.files.Upload(stream.Context(), options, &chunks{stream: stream})
	if err != nil {
		return err
	}
	out, err := showDocument(d)
	if err != nil {
		return err
	}
	return stream.SendAndClose(out)
}

func uploadOptions(o *recordsv1.UploadDocumentOptions) (attach.Options, error) {
	patient, err := patientID("options.parent", o.GetParent())
	if err != nil {
		return attach.Options{}, err
	}
	out := attach.Options{Patient: patient, Name: o.GetFileName(), MediaType: o.GetMediaType(), SHA256: o.GetSha256()}
	if !attach.ValidName(out.Name) {
		return out, errs.New(errs.KindInvalid, "FILE_NAME_INVALID", "This is no name of a file: leave out folders and control characters.").
			WithField("options.file_name", "must be a plain file name")
	}
	if id := o.GetRequestId(); id != "" {
		out.Request, err = uuid.Parse(id)
	}
	return out, err
}

// chunks reads the content out of the messages of an upload.
type chunks struct {
	stream uploadStream
	rest   []byte
}

// Read implements io.Reader.
func (c *chunks) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}
		if m.GetOptions() != nil {
			return 0, errUploadOptions
		}
		c.rest = m.GetChunk()
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// GetDocument implements the RPC.
func (s *Documents) GetDocument(ctx context.Context, r *recordsv1.GetDocumentRequest) (*recordsv1.Document, error) {
	at, err := documentAt(r.GetName())
	if err != nil {
		return nil, err
	}
	d, err := s.chart.Read(ctx, at)
	if err != nil {
		return nil, err
	}
	return showDocument(d)
}

// ListDocuments implements the RPC.
func (s *Documents) ListDocuments(ctx context.Context, r *recordsv1.ListDocumentsRequest) (*recordsv1.ListDocumentsResponse, error) {
	patient, err := patientID("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	docs, next, err := s.chart.List(ctx, patient, chart.TypeFile, chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListDocumentsResponse{NextPageToken: next}
	for _, d := range docs {
		shown, err := showDocument(d)
		if err != nil {
			return nil, err
		}
		out.Documents = append(out.Documents, shown)
	}
	return out, nil
}

// contentFor refuses content to a purpose that needs none: it cannot be narrowed like a message.
func contentFor(ctx context.Context) error {
	return policy.CheckContent(caller.ViewOf(ctx), &recordsv1.DownloadDocumentResponse{}, "chunk")
}

// DownloadDocument implements the RPC.
func (s *Documents) DownloadDocument(r *recordsv1.DownloadDocumentRequest, stream grpc.ServerStreamingServer[recordsv1.DownloadDocumentResponse]) error {
	at, err := documentAt(r.GetName())
	if err != nil {
		return err
	}
	if err := contentFor(stream.Context()); err != nil {
		return err
	}
	return s.files.Download(stream.Context(), at, func(d chart.Document) error {
		shown, err := showDocument(d)
		if err != nil {
			return err
		}
		return stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Document{Document: shown}})
	}, sender{stream})
}

// sender sends what is written as chunks.
type sender struct {
	stream grpc.ServerStreamingServer[recordsv1.DownloadDocumentResponse]
}

// Write implements io.Writer.
func (s sender) Write(b []byte) (int, error) {
	err := s.stream.Send(&recordsv1.DownloadDocumentResponse{Item: &recordsv1.DownloadDocumentResponse_Chunk{Chunk: b}})
	return len(b), err
}

// DeleteDocument implements the RPC.
func (s *Documents) DeleteDocument(ctx context.Context, r *recordsv1.DeleteDocumentRequest) (*recordsv1.DeleteDocumentResponse, error) {
	at, err := documentAt(r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.chart.Delete(ctx, at, r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeleteDocumentResponse{}, nil
}
