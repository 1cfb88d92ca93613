package fhirapi

import (
	"context"
	"maps"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
)

// of makes a verb whose RPC takes T.
func of[T proto.Message](v verb, build func(*input) (T, error), run func(context.Context, T) (*recordsv1.FhirAnswer, error)) verb {
	v.empty = func() proto.Message {
		var none T
		return none.ProtoReflect().New().Interface()
	}
	v.build = func(in *input) (proto.Message, error) { return build(in) }
	v.run = func(ctx context.Context, m proto.Message) (proto.Message, error) {
		a, err := run(ctx, m.(T))
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	return v
}

// verbs is how each RPC of FhirService is reached.
func verbs(s *Service, l Limits) map[string]verb {
	resource := verb{takes: []string{outcome.MediaType, typeJSON}, limit: l.ResourceBytes}
	paged := verb{query: []string{"_count", "_page"}}
	list := map[string]verb{
		recordsv1.FhirService_Capabilities_FullMethodName: of(verb{}, func(*input) (*recordsv1.FhirServiceCapabilitiesRequest, error) {
			return &recordsv1.FhirServiceCapabilitiesRequest{}, nil
		}, s.Capabilities),
		recordsv1.FhirService_SmartConfiguration_FullMethodName: of(verb{}, func(*input) (*recordsv1.FhirServiceSmartConfigurationRequest, error) {
			return &recordsv1.FhirServiceSmartConfigurationRequest{}, nil
		}, s.SmartConfiguration),
		recordsv1.FhirService_Read_FullMethodName: of(verb{}, func(in *input) (*recordsv1.FhirServiceReadRequest, error) {
			return &recordsv1.FhirServiceReadRequest{Type: in.values["type"], Id: in.values["id"]}, nil
		}, s.Read),
		recordsv1.FhirService_ReadVersion_FullMethodName: of(verb{}, func(in *input) (*recordsv1.FhirServiceReadVersionRequest, error) {
			return &recordsv1.FhirServiceReadVersionRequest{Type: in.values["type"], Id: in.values["id"], Version: in.values["version"]}, nil
		}, s.ReadVersion),
		recordsv1.FhirService_History_FullMethodName: of(paged, func(in *input) (*recordsv1.FhirServiceHistoryRequest, error) {
			count, err := in.count()
			return &recordsv1.FhirServiceHistoryRequest{Type: in.values["type"], Id: in.values["id"], Count: count, Page: in.query.Get("_page")}, err
		}, s.History),
		recordsv1.FhirService_Create_FullMethodName: of(resource, func(in *input) (*recordsv1.FhirServiceCreateRequest, error) {
			return &recordsv1.FhirServiceCreateRequest{Type: in.values["type"], Content: in.body, NoneExist: in.Header.Get("If-None-Exist")}, nil
		}, s.Create),
		recordsv1.FhirService_Update_FullMethodName: of(resource, func(in *input) (*recordsv1.FhirServiceUpdateRequest, error) {
			version, err := match(in.Header)
			return &recordsv1.FhirServiceUpdateRequest{Type: in.values["type"], Id: in.values["id"], Content: in.body, Match: version}, err
		}, s.Update),
		recordsv1.FhirService_Patch_FullMethodName: of(verb{takes: []string{typePatch}, limit: l.ResourceBytes}, func(in *input) (*recordsv1.FhirServicePatchRequest, error) {
			version, err := match(in.Header)
			return &recordsv1.FhirServicePatchRequest{Type: in.values["type"], Id: in.values["id"], Content: in.body, Match: version}, err
		}, s.Patch),
		recordsv1.FhirService_Delete_FullMethodName: of(verb{}, func(in *input) (*recordsv1.FhirServiceDeleteRequest, error) {
			version, err := match(in.Header)
			return &recordsv1.FhirServiceDeleteRequest{Type: in.values["type"], Id: in.values["id"], Match: version}, err
		}, s.Delete),
		recordsv1.FhirService_Search_FullMethodName: of(verb{takes: []string{typeForm}, limit: formBytes}, func(in *input) (*recordsv1.FhirServiceSearchRequest, error) {
			return &recordsv1.FhirServiceSearchRequest{Type: in.values["type"], Content: in.body}, nil
		}, s.Search),
		recordsv1.FhirService_SearchPage_FullMethodName: of(verb{query: []string{"page"}}, func(in *input) (*recordsv1.FhirServiceSearchPageRequest, error) {
			return &recordsv1.FhirServiceSearchPageRequest{Type: in.values["type"], Page: in.query.Get("page")}, nil
		}, s.SearchPage),
		recordsv1.FhirService_Everything_FullMethodName: of(verb{query: []string{"_type", "_since", "_count", "_page"}}, (*input).everything, s.Everything),
		recordsv1.FhirService_Process_FullMethodName: of(verb{takes: resource.takes, limit: l.BundleBytes}, func(in *input) (*recordsv1.FhirServiceProcessRequest, error) {
			return &recordsv1.FhirServiceProcessRequest{Content: in.body}, nil
		}, s.Process),
	}
	maps.Copy(list, exportVerbs(s))
	return list
}

func (in *input) everything() (*recordsv1.FhirServiceEverythingRequest, error) {
	count, err := in.count()
	if err != nil {
		return nil, err
	}
	r := &recordsv1.FhirServiceEverythingRequest{Id: in.values["id"], Types: in.query.Get("_type"), Count: count, Page: in.query.Get("_page")}
	r.Since, err = in.since()
	return r, err
}

func (in *input) since() (*timestamppb.Timestamp, error) {
	text := in.query.Get("_since")
	if text == "" {
		return nil, nil
	}
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "_since is no instant of FHIR.").
			WithField("_since", "must be like 2026-01-31T10:00:00Z, with its plus sign escaped")
	}
	return timestamppb.New(since), nil
}

func (in *input) count() (int32, error) {
	text := in.query.Get("_count")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "_count is no positive number.").WithField("_count", "must be a positive number")
	}
	return int32(n), nil
}
