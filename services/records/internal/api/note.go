package api

import (
	"context"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
)

var notes = kind[*recordsv1.Note]{
	resourceType: fhir.TypeDocumentReference,
	collection:   "notes",
	view:         fhir.NoteView,
	build:        fhir.NewNote,
	patch:        fhir.PatchNote,
	label: func(n *recordsv1.Note, l label) {
		n.Name, n.CreateTime, n.UpdateTime, n.Etag = l.name, l.created, l.updated, l.etag
	},
}

// GetNote implements the RPC.
func (s *Service) GetNote(ctx context.Context, r *recordsv1.GetNoteRequest) (*recordsv1.Note, error) {
	return notes.get(ctx, s.chart, r.GetName())
}

// ListNotes implements the RPC.
func (s *Service) ListNotes(ctx context.Context, r *recordsv1.ListNotesRequest) (*recordsv1.ListNotesResponse, error) {
	list, next, err := notes.list(ctx, s.chart, r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &recordsv1.ListNotesResponse{Notes: list, NextPageToken: next}, nil
}

// CreateNote implements the RPC.
func (s *Service) CreateNote(ctx context.Context, r *recordsv1.CreateNoteRequest) (*recordsv1.Note, error) {
	if r.GetNote() == nil {
		return nil, required("note")
	}
	return notes.create(ctx, s.chart, r.GetParent(), r.GetRequestId(), r, r.GetNote())
}

// UpdateNote implements the RPC.
func (s *Service) UpdateNote(ctx context.Context, r *recordsv1.UpdateNoteRequest) (*recordsv1.Note, error) {
	if r.GetNote() == nil {
		return nil, required("note")
	}
	return notes.update(ctx, s.chart, "note", r.GetNote().GetName(), r.GetNote().GetEtag(), r.GetUpdateMask(), r.GetNote())
}

// DeleteNote implements the RPC.
func (s *Service) DeleteNote(ctx context.Context, r *recordsv1.DeleteNoteRequest) (*recordsv1.DeleteNoteResponse, error) {
	if err := notes.delete(ctx, s.chart, r.GetName(), r.GetEtag()); err != nil {
		return nil, err
	}
	return &recordsv1.DeleteNoteResponse{}, nil
}
