package fhirapi

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/policy"
)

const typeNDJSON = "application/fhir+ndjson"

// ndjson are the formats that an export can be asked in, all the same one.
var ndjson = []string{typeNDJSON, "application/ndjson", "ndjson"}

// StartExport implements the RPC.
func (s *Service) StartExport(ctx context.Context, r *recordsv1.FhirServiceStartExportRequest) (*recordsv1.FhirAnswer, error) {
	types, err := exportable(ctx, r.GetTypes(), r.GetDirectory())
	if err != nil {
		return nil, err
	}
	since, path, from := "", "/Patient/$export", time.Time{}
	if r.GetSince() != nil {
		from = r.GetSince().AsTime()
		since = from.Format(time.RFC3339Nano)
	}
	if r.GetDirectory() {
		path = "/$export"
	}
	id, err := s.Exports.Start(ctx, types, from, path+query("_type", r.GetTypes(), "_since", since))
	if err != nil {
		return nil, err
	}
	return &recordsv1.FhirAnswer{Status: http.StatusAccepted, Export: id.String()}, nil
}

// exportable are the types that were asked for. A type that was named and that the caller may not
// read for this purpose is refused; one that was not is left out.
func exportable(ctx context.Context, asked string, directory bool) ([]string, error) {
	view := caller.ViewOf(ctx)
	if asked == "" {
		types := slices.DeleteFunc(slices.Clone(fhir.StoredTypes()), func(t string) bool {
			return !policy.MayRead(view, t) || fhir.Directory(t) && !directory
		})
		if len(types) == 0 {
			return nil, errs.New(errs.KindDenied, "TYPE_NOT_PERMITTED", "The caller may read no type that could be exported for this purpose.")
		}
		return types, nil
	}
	types := strings.Split(asked, ",")
	for _, t := range types {
		switch {
		case !fhir.Stored(t):
			return nil, errType
		case fhir.Directory(t) && !directory:
			return nil, errs.New(errs.KindInvalid, "TYPE_NOT_EXPORTED", "A type that belongs to no patient is exported by GET "+Path+"/$export.").
				WithField("_type", "must name types of the patient compartment")
		}
		if err := policy.CheckRead(view, t); err != nil {
			return nil, err
		}
	}
	slices.Sort(types)
	return slices.Compact(types), nil
}

type exportOutput struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int    `json:"count"`
}

type exportManifest struct {
	Time    string         `json:"transactionTime"`
	Request string         `json:"request"`
	Token   bool           `json:"requiresAccessToken"`
	Output  []exportOutput `json:"output"`
	Error   []exportOutput `json:"error"`
}

// GetExport implements the RPC. What the caller may read is asked again each time.
func (s *Service) GetExport(ctx context.Context, r *recordsv1.FhirServiceGetExportRequest) (*recordsv1.FhirAnswer, error) {
	e, err := s.Exports.Status(ctx, parseID(r.GetExport()))
	if err != nil {
		return nil, err
	}
	if !e.Done() {
		a := &recordsv1.FhirAnswer{Status: http.StatusAccepted, Export: e.ID.String(), RetrySeconds: 1}
		if a.Progress = "types left to plan: " + strconv.Itoa(e.Left); e.Wait > 0 {
			a.Progress, a.RetrySeconds = "settling", int32(math.Ceil(e.Wait.Seconds()))
		}
		return a, nil
	}
	view := caller.ViewOf(ctx)
	types := slices.DeleteFunc(e.Types, func(t string) bool { return !policy.MayRead(view, t) })
	files, err := s.Exports.Files(ctx, e, types)
	if err != nil {
		return nil, err
	}
	m := exportManifest{Time: instant(e.Created), Request: s.Base + e.Request, Token: true, Output: []exportOutput{}, Error: []exportOutput{}}
	for _, f := range files {
		m.Output = append(m.Output, exportOutput{f.Type, s.Base + "/$export/" + e.ID.String() + "/" + f.Type + "/" + f.First.String(), f.Resources})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInternal, "INTERNAL", "internal error")
	}
	return &recordsv1.FhirAnswer{Content: raw, Export: e.ID.String(), ExpireTime: timestamppb.New(e.Expires)}, nil
}

// ReadExportFile implements the RPC. One file is a message; an export never is.
func (s *Service) ReadExportFile(ctx context.Context, r *recordsv1.FhirServiceReadExportFileRequest) (*recordsv1.FhirAnswer, error) {
	first, err := readable(ctx, r.GetType(), r.GetFirst())
	if err != nil {
		return nil, err
	}
	e, docs, err := s.Exports.Read(ctx, parseID(r.GetExport()), r.GetType(), first)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, d := range docs {
		line, err := fhir.Line(shown(d.JSON))
		if err != nil {
			return nil, err
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	return &recordsv1.FhirAnswer{Content: out.Bytes(), Export: e.ID.String(), ExpireTime: timestamppb.New(e.Expires)}, nil
}

// EndExport implements the RPC.
func (s *Service) EndExport(ctx context.Context, r *recordsv1.FhirServiceEndExportRequest) (*recordsv1.FhirAnswer, error) {
	if err := s.Exports.End(ctx, parseID(r.GetExport())); err != nil {
		return nil, err
	}
	return &recordsv1.FhirAnswer{Status: http.StatusAccepted}, nil
}

// exportHead sets the headers of an answer about an export.
func (h *handler) exportHead(head http.Header, a *recordsv1.FhirAnswer) {
	switch {
	case a.GetExport() == "":
	case a.GetStatus() == 0:
		head.Set("Expires", a.GetExpireTime().AsTime().UTC().Format(http.TimeFormat))
	case a.GetRetrySeconds() > 0:
		head.Set("X-Progress", a.GetProgress())
		head.Set("Retry-After", strconv.Itoa(int(a.GetRetrySeconds())))
	default:
		head.Set("Content-Location", h.base+"/$export/"+a.GetExport())
	}
}

var errAsync = errs.New(errs.KindInvalid, "PREFER_REQUIRED", "An export is asynchronous: send Prefer: respond-async, and ask for its status at Content-Location.").
	WithField("Prefer", "must be respond-async")

func (in *input) startExport() (*recordsv1.FhirServiceStartExportRequest, error) {
	asynchronous := slices.ContainsFunc(strings.FieldsFunc(strings.Join(in.Header.Values("Prefer"), ","), func(r rune) bool { return r == ',' || r == ';' }),
		func(part string) bool { return strings.TrimSpace(part) == "respond-async" })
	if !asynchronous {
		return nil, errAsync
	}
	if format := strings.ReplaceAll(in.query.Get("_outputFormat"), " ", "+"); format != "" && !slices.Contains(ndjson, format) {
		return nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "_outputFormat is none that an export has.").
			WithField("_outputFormat", "must be "+typeNDJSON+", or left out")
	}
	since, err := in.since()
	return &recordsv1.FhirServiceStartExportRequest{
		Types: in.query.Get("_type"), Since: since, Directory: !strings.Contains(in.URL.Path, "/Patient/"),
	}, err
}

// bulkParameters are those of the standard that are not supported; they are refused by name.
var bulkParameters = []string{
	"_elements", "_typeFilter", "allowPartialManifests", "includeAssociatedData", "organizeOutputBy", "patient",
}

// exportVerbs is how the RPCs of exports are reached.
func exportVerbs(s *Service) map[string]verb {
	return map[string]verb{
		recordsv1.FhirService_StartExport_FullMethodName: of(verb{query: []string{"_outputFormat", "_since", "_type"}, refuses: bulkParameters}, (*input).startExport, s.StartExport),
		recordsv1.FhirService_GetExport_FullMethodName: of(verb{}, func(in *input) (*recordsv1.FhirServiceGetExportRequest, error) {
			return &recordsv1.FhirServiceGetExportRequest{Export: in.values["export"]}, nil
		}, s.GetExport),
		recordsv1.FhirService_ReadExportFile_FullMethodName: of(verb{gives: typeNDJSON}, func(in *input) (*recordsv1.FhirServiceReadExportFileRequest, error) {
			return &recordsv1.FhirServiceReadExportFileRequest{Export: in.values["export"], Type: in.values["type"], First: in.values["first"]}, nil
		}, s.ReadExportFile),
		recordsv1.FhirService_EndExport_FullMethodName: of(verb{}, func(in *input) (*recordsv1.FhirServiceEndExportRequest, error) {
			return &recordsv1.FhirServiceEndExportRequest{Export: in.values["export"]}, nil
		}, s.EndExport),
	}
}
