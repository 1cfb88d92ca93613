package fhirapi

import (
	"context"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/interact"
	"github.com/carekeep/carekeep/services/records/policy"
)

// Patch implements the RPC: it reads, which is an access of its own in the audit log,
// changes the document, and stores it if nobody was quicker.
func (s *Service) Patch(ctx context.Context, r *recordsv1.FhirServicePatchRequest) (*recordsv1.FhirAnswer, error) {
	switch {
	case !fhir.Stored(r.GetType()):
		return nil, errType
	case r.GetMatch() == 0:
		return nil, errMatch
	}
	if err := policy.CheckChange(caller.ViewOf(ctx), policy.Update, r.GetType()); err != nil {
		return nil, err
	}
	was, err := s.Store.Read(ctx, r.GetType(), parseID(r.GetId()))
	if err != nil {
		return nil, err
	}
	if was.Version != r.GetMatch() {
		return nil, interact.ErrStale
	}
	content, err := patched(was.JSON, r.GetContent())
	if err != nil {
		return nil, err
	}
	change, err := replacement(r.GetType(), r.GetId(), r.GetMatch(), content)
	if err != nil {
		return nil, err
	}
	return s.apply(ctx, change)
}
