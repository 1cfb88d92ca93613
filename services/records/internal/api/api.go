// Package api serves carekeep.records.v1: thin handlers that read names and
// masks, call the operations of internal/chart and internal/intake, and answer with the views of
// internal/fhir. Who may call what stands in the proto file.
package api

import (
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/intake"
	"github.com/carekeep/carekeep/services/records/internal/search"
)

// Service implements the records API.
type Service struct {
	recordsv1.UnimplementedRecordsServiceServer
	chart   *chart.Chart
	imports *intake.Importer
	search  *search.Engine
}

// New makes the service.
func New(c *chart.Chart, i *intake.Importer, s *search.Engine) *Service {
	return &Service{chart: c, imports: i, search: s}
}

const patients = "patients/"

// ids reads the UUIDs of a name such as "patients/{uuid}/notes/{uuid}", given
// the collections that it names.
func ids(field, name string, collections ...string) ([]uuid.UUID, error) {
	parts := strings.Split(name, "/")
	out := make([]uuid.UUID, 0, len(collections))
	if len(parts) == 2*len(collections) {
		for i, collection := range collections {
			id, ok := fhir.ParseUUID(parts[2*i+1])
			if !ok || parts[2*i] != collection {
				break
			}
			out = append(out, id)
		}
	}
	if len(out) != len(collections) {
		return nil, errs.New(errs.KindInvalid, "NAME_INVALID", "A name is not of the form that this request takes.").
			WithField(field, "must be like "+strings.Join(collections, "/{uuid}/")+"/{uuid}")
	}
	return out, nil
}

func patientID(field, name string) (uuid.UUID, error) {
	list, err := ids(field, name, "patients")
	if err != nil {
		return uuid.Nil, err
	}
	return list[0], nil
}

// request makes a create idempotent where the client gave a request id.
func request(id string, message proto.Message) (chart.Request, error) {
	if id == "" {
		return chart.Request{}, nil
	}
	parsed, ok := fhir.ParseUUID(id)
	if !ok {
		return chart.Request{}, errs.New(errs.KindInvalid, "REQUEST_ID_INVALID", "The request id is no UUID.").
			WithField("request_id", "must be a UUID, such as a random one")
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return chart.Request{}, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	return chart.Request{ID: parsed, Content: append([]byte(message.ProtoReflect().Descriptor().FullName()+"\x00"), content...)}, nil
}

func required(field string) error {
	return errs.New(errs.KindInvalid, "FIELD_REQUIRED", "A required field is missing.").WithField(field, "is required")
}
