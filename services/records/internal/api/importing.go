package api

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/intake"
)

type importStream = grpc.BidiStreamingServer[recordsv1.ImportBundleRequest, recordsv1.ImportBundleResponse]

var errOptionsFirst = errs.New(errs.KindInvalid, "OPTIONS_FIRST", "An import begins with its options, once, and goes on with chunks of the bundle.").
	WithField("item", "must be options in the first message and chunk in all others")

// ImportBundle implements the RPC.
func (s *Service) ImportBundle(stream importStream) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && first.GetOptions() == nil {
		return errOptionsFirst
	}
	if err != nil {
		return err
	}
	options, err := importOptions(first.GetOptions())
	if err != nil {
		return err
	}
	in, out := io.Pipe()
	go receive(stream, out)
	totals, err := s.imports.Run(stream.Context(), options, in, reporter{stream})
	_ = in.CloseWithError(context.Canceled) // lets receive end
	if err != nil {
		return err
	}
	return stream.Send(&recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Result{Result: progress(totals)}})
}

// receive passes the chunks on until the client has sent all, or the import has ended.
func receive(stream importStream, out *io.PipeWriter) {
	for {
		message, err := stream.Recv()
		if err == nil && message.GetOptions() != nil {
			err = errOptionsFirst
		}
		if err == nil {
			_, err = out.Write(message.GetChunk())
		}
		if err != nil {
			_ = out.CloseWithError(err) // io.EOF ends the bundle
			return
		}
	}
}

func importOptions(o *recordsv1.ImportOptions) (intake.Options, error) {
	var out intake.Options
	if o.GetDoctor() != "" {
		list, err := ids("options.doctor", o.GetDoctor(), "users")
		if err != nil {
			return out, err
		}
		out.Doctor = list[0]
	}
	if o.GetPatient() != "" {
		id, err := patientID("options.patient", o.GetPatient())
		if err != nil {
			return out, err
		}
		out.Patient = id
	}
	return out, nil
}

// reporter sends what an import reports.
type reporter struct{ stream importStream }

func (r reporter) Problem(p intake.Problem) error {
	return r.stream.Send(&recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Problem{
		Problem: &recordsv1.ImportProblem{Index: p.Index, Reason: p.Reason, Message: p.Message},
	}})
}

func (r reporter) Progress(t intake.Totals) error {
	return r.stream.Send(&recordsv1.ImportBundleResponse{Item: &recordsv1.ImportBundleResponse_Progress{Progress: progress(t)}})
}

func progress(t intake.Totals) *recordsv1.ImportProgress {
	return &recordsv1.ImportProgress{Created: t.Created, Updated: t.Updated, Unchanged: t.Unchanged, Refused: t.Refused}
}
