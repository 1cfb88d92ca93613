package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/upkeep"
)

// Index implements the API of the blind index.
type Index struct {
	recordsv1.UnimplementedIndexServiceServer
	upkeep *upkeep.Upkeep
}

// NewIndex makes it.
func NewIndex(u *upkeep.Upkeep) *Index { return &Index{upkeep: u} }

// GetSearchIndex implements the RPC.
func (x *Index) GetSearchIndex(ctx context.Context, _ *recordsv1.GetSearchIndexRequest) (*recordsv1.SearchIndex, error) {
	return showIndex(x.upkeep.Index(ctx, practice(ctx)))
}

// RebuildSearchIndex implements the RPC.
func (x *Index) RebuildSearchIndex(ctx context.Context, r *recordsv1.RebuildSearchIndexRequest) (*recordsv1.SearchIndex, error) {
	return showIndex(x.upkeep.RebuildIndex(ctx, practice(ctx), r.Phonetics, r.GetRegion()))
}

// MeasureLeakage implements the RPC.
func (x *Index) MeasureLeakage(ctx context.Context, _ *recordsv1.MeasureLeakageRequest) (*recordsv1.LeakageReport, error) {
	report, err := x.upkeep.MeasureLeakage(ctx, practice(ctx))
	if err != nil {
		return nil, err
	}
	out := &recordsv1.LeakageReport{Generation: report.Generation, OverBudget: report.Over()}
	for _, l := range report.Indexes {
		out.Indexes = append(out.Indexes, &recordsv1.LeakageReport_Index{
			Name: l.Name, Entries: l.Entries, Tokens: l.Tokens, MostFrequent: l.MostFrequent,
			Allowed: l.Budget.Documents, AllowedShare: l.Budget.TopShare, OverBudget: l.Over(),
		})
	}
	return out, nil
}

func showIndex(rows []store.Generation, err error) (*recordsv1.SearchIndex, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.SearchIndex{}
	for _, g := range rows {
		shown := &recordsv1.SearchIndex_Generation{
			Number: g.Number, State: recordsv1.SearchIndex_State(recordsv1.SearchIndex_State_value["STATE_"+g.State]),
			Format: int32(g.Format), Region: g.Region, Phonetics: g.Phonetics, OwnKey: g.Key != uuid.Nil,
			Done: g.Done, Total: g.Total, Broken: g.Broken, CreateTime: timestamppb.New(g.Created),
		}
		if !g.Live.IsZero() {
			shown.LiveTime = timestamppb.New(g.Live)
		}
		out.Generations = append(out.Generations, shown)
	}
	return out, nil
}
