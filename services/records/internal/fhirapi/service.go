// Package fhirapi serves FHIR R4: FhirService, whose RPCs are FHIR's interactions, and
// the HTTP of the standard over it. The operations are those of internal/interact and
// internal/chart; who may call what stands in the proto file.
package fhirapi

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/services/records/internal/bulk"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/interact"
	"github.com/carekeep/carekeep/services/records/internal/search"
	"github.com/carekeep/carekeep/services/records/policy"
)

// Options of the service.
type Options struct {
	Store   *interact.Store
	Chart   *chart.Chart
	Engine  *search.Engine
	Exports *bulk.Exports
	// Base is the URL that clients know: https://…/fhir/R4.
	Base string
	Now  func() time.Time
	// Over tells, between the entries of a bundle, why the caller gets no more (watch.Watch.Over).
	Over func(context.Context) error
}

// Service implements FhirService.
type Service struct {
	recordsv1.UnimplementedFhirServiceServer
	Options
}

// New makes the service.
func New(o Options) *Service { return &Service{Options: o} }

var errType = errs.New(errs.KindNotFound, "TYPE_UNKNOWN", "FHIR R4 has no such resource type, or none that is stored here.")

// readable checks the type and that the caller may read it; the id is nil where no
// resource can have it, for ids here are UUIDs: it then is like one that does not exist.
func readable(ctx context.Context, resourceType, id string) (uuid.UUID, error) {
	if !fhir.Stored(resourceType) {
		return uuid.Nil, errType
	}
	if err := policy.CheckRead(caller.ViewOf(ctx), resourceType); err != nil {
		return uuid.Nil, err
	}
	return parseID(id), nil
}

// parseID reads an id. Any other than a UUID names nothing, and nothing is stored under
// the maximum UUID.
func parseID(id string) uuid.UUID {
	if parsed, ok := fhir.ParseUUID(id); ok {
		return parsed
	}
	return uuid.Max
}

func answer(d chart.Document) *recordsv1.FhirAnswer {
	return &recordsv1.FhirAnswer{
		Content: shown(d.JSON), Type: d.Type, Id: d.ID.String(), Version: d.Version, UpdateTime: timestamppb.New(d.Updated),
	}
}

// Read implements the RPC.
func (s *Service) Read(ctx context.Context, r *recordsv1.FhirServiceReadRequest) (*recordsv1.FhirAnswer, error) {
	id, err := readable(ctx, r.GetType(), r.GetId())
	if err != nil {
		return nil, err
	}
	d, err := s.Store.Read(ctx, r.GetType(), id)
	if err != nil {
		return nil, err
	}
	return answer(d), nil
}

// ReadVersion implements the RPC.
func (s *Service) ReadVersion(ctx context.Context, r *recordsv1.FhirServiceReadVersionRequest) (*recordsv1.FhirAnswer, error) {
	id, err := readable(ctx, r.GetType(), r.GetId())
	if err != nil {
		return nil, err
	}
	version, err := strconv.ParseInt(r.GetVersion(), 10, 64)
	if err != nil {
		return nil, chart.NotFound
	}
	d, err := s.Chart.FindVersion(ctx, r.GetType(), id, version)
	if err != nil {
		return nil, err
	}
	return answer(d), nil
}

// Create implements the RPC. A condition that somebody else met meanwhile is looked for again.
func (s *Service) Create(ctx context.Context, r *recordsv1.FhirServiceCreateRequest) (*recordsv1.FhirAnswer, error) {
	for try := 0; ; try++ {
		found, unless, err := s.existing(ctx, r.GetType(), r.GetNoneExist())
		if err != nil || found != nil {
			return found, err
		}
		change, err := creation(r.GetType(), r.GetContent())
		if err != nil {
			return nil, err
		}
		change.Unless = unless
		a, err := s.apply(ctx, change)
		if errors.Is(err, interact.ErrExists) && try < conditionTries {
			continue
		}
		if err == nil {
			a.Status = 201
		}
		return a, err
	}
}

// conditionTries is how often a condition is looked for again: once would do, if what was found
// could not be deleted before it is read.
const conditionTries = 3

// Update implements the RPC.
func (s *Service) Update(ctx context.Context, r *recordsv1.FhirServiceUpdateRequest) (*recordsv1.FhirAnswer, error) {
	change, err := replacement(r.GetType(), r.GetId(), r.GetMatch(), r.GetContent())
	if err != nil {
		return nil, err
	}
	a, err := s.apply(ctx, change)
	return a, interact.Missing(err)
}

// Delete implements the RPC.
func (s *Service) Delete(ctx context.Context, r *recordsv1.FhirServiceDeleteRequest) (*recordsv1.FhirAnswer, error) {
	if !fhir.Stored(r.GetType()) {
		return nil, errType
	}
	a, err := s.apply(ctx, interact.Change{Kind: policy.Delete, Type: r.GetType(), ID: parseID(r.GetId()), Match: r.GetMatch()})
	if err != nil {
		return nil, err
	}
	return &recordsv1.FhirAnswer{Status: 204, Version: a.GetVersion(), UpdateTime: a.GetUpdateTime()}, nil
}

func (s *Service) apply(ctx context.Context, change interact.Change) (*recordsv1.FhirAnswer, error) {
	done, err := s.Store.Apply(ctx, []interact.Change{change})
	if err != nil {
		return nil, err
	}
	return answer(done[0]), nil
}

var errMatch = errs.New(errs.KindPrecondition, outcome.ReasonMatch, "An update needs If-Match with the ETag that was read, so that it changes what its author saw.")

// creation is the change that creates a resource under a new id.
func creation(resourceType string, content []byte) (interact.Change, error) {
	return creationAs(resourceType, uuid.Must(uuid.NewV7()), content)
}

func creationAs(resourceType string, id uuid.UUID, content []byte) (interact.Change, error) {
	if err := check(resourceType, content); err != nil {
		return interact.Change{}, err
	}
	content, err := fhir.WithID(content, id.String())
	return interact.Change{Kind: policy.Create, Type: resourceType, ID: id, JSON: content}, err
}

// replacement is the change that replaces a resource.
func replacement(resourceType, id string, match int64, content []byte) (interact.Change, error) {
	if err := check(resourceType, content); err != nil {
		return interact.Change{}, err
	}
	if fhir.ID(content) != id {
		return interact.Change{}, errs.New(errs.KindInvalid, "ID_MISMATCH", "The resource's id must be that of the URL.").
			WithField(resourceType+".id", "must be the id in the URL")
	}
	if match == 0 {
		return interact.Change{}, errMatch
	}
	return interact.Change{Kind: policy.Update, Type: resourceType, ID: parseID(id), Match: match, JSON: content}, nil
}
