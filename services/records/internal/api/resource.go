package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/fhir/narrative"
	"github.com/carekeep/carekeep/services/records/policy"
)

// fhirJSON is FHIR's media type (R4 2.6.2).
const fhirJSON = "application/fhir+json"

// readable checks that R4 has the type and that the caller may read it raw.
func readable(ctx context.Context, resourceType string) error {
	if !fhir.Known(resourceType) {
		return errs.New(errs.KindInvalid, "TYPE_UNKNOWN", "FHIR R4 has no such resource type.").
			WithField("type", "must be a resource type of FHIR R4, such as Observation")
	}
	return policy.CheckRead(caller.ViewOf(ctx), resourceType)
}

func resourceID(ctx context.Context, resourceType, id string) (uuid.UUID, error) {
	if err := readable(ctx, resourceType); err != nil {
		return uuid.Nil, err
	}
	parsed, ok := fhir.ParseUUID(id)
	if !ok {
		return uuid.Nil, errs.New(errs.KindInvalid, "NAME_INVALID", "The id is no UUID.").WithField("id", "must be a UUID")
	}
	return parsed, nil
}

// narrativeHeader tells a client that the narrative is not as it is stored, so that
// bytes it may have kept differ.
const narrativeHeader = "carekeep-narrative"

// raw answers with a document as it is stored, but for what must not stand in a narrative.
func raw(ctx context.Context, d chart.Document, err error) (*httpbody.HttpBody, error) {
	if err != nil {
		return nil, err
	}
	doc, changed := narrative.Sanitize(d.JSON)
	if changed {
		if err := grpc.SetHeader(ctx, metadata.Pairs(narrativeHeader, "sanitised")); err != nil {
			return nil, err
		}
	}
	return &httpbody.HttpBody{ContentType: fhirJSON, Data: doc}, nil
}

// GetResource implements the RPC.
func (s *Service) GetResource(ctx context.Context, r *recordsv1.GetResourceRequest) (*httpbody.HttpBody, error) {
	id, err := resourceID(ctx, r.GetType(), r.GetId())
	if err != nil {
		return nil, err
	}
	d, err := s.chart.Find(ctx, r.GetType(), id)
	return raw(ctx, d, err)
}

// GetResourceVersion implements the RPC.
func (s *Service) GetResourceVersion(ctx context.Context, r *recordsv1.GetResourceVersionRequest) (*httpbody.HttpBody, error) {
	id, err := resourceID(ctx, r.GetType(), r.GetId())
	if err != nil {
		return nil, err
	}
	d, err := s.chart.FindVersion(ctx, r.GetType(), id, r.GetVersion())
	return raw(ctx, d, err)
}

// ListResources implements the RPC.
func (s *Service) ListResources(ctx context.Context, r *recordsv1.ListResourcesRequest) (*recordsv1.ListResourcesResponse, error) {
	if err := readable(ctx, r.GetType()); err != nil {
		return nil, err
	}
	patient, err := patientID("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	docs, next, err := s.chart.List(ctx, patient, r.GetType(), chart.Page{Size: int(r.GetPageSize()), Token: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListResourcesResponse{NextPageToken: next}
	for _, d := range docs {
		doc, _ := narrative.Sanitize(d.JSON)
		out.Resources = append(out.Resources, &recordsv1.Resource{
			Type: d.Type, Id: d.ID.String(), Version: d.Version, UpdateTime: timestamppb.New(d.Updated), Json: string(doc),
		})
	}
	return out, nil
}
