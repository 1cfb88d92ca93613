package api

import (
	"context"
	"maps"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/audit/internal/radius"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// What no entry can tell, for whoever has to judge a radius.
const (
	unknownLists = "a list names how many resources of a patient it showed, and not which"
	unknownLost  = "an access whose answer was lost on its way counts as opened: the log says too much and never too little"
	unknownKey   = "an unwrapped key stays in the memory of the records service for a while; what was opened with it is in the accesses of that time, not in the unwraps"
	unknownOut   = "a key that left transit in another way, as by a copy of a process's memory, left no entry"
)

// radiusQuery reads what protovalidate has checked, apart from the address and times.
func radiusQuery(ctx context.Context, r *auditv1.RadiusQuery) (radius.Query, error) {
	q := radius.Query{Key: lastID(r.GetKeyId()), Filter: store.Filter{
		User: lastID(r.GetUserId()), Session: lastID(r.GetSessionId()), Device: lastID(r.GetDeviceId()),
	}}
	var err error
	if q.Address, err = network(ctx, r.GetAddress()); err != nil {
		return q, err
	}
	if err := times(r, &q.Filter); err != nil {
		return q, err
	}
	if q.Filter == (store.Filter{}) && q.Key == uuid.Nil {
		return q, invalid("query", "name a user, session, device, address or key, or a time")
	}
	return q, nil
}

// ComputeRadius implements the RPC. Its own event is in the log before the first patient leaves.
func (s *IncidentService) ComputeRadius(r *auditv1.ComputeRadiusRequest, stream grpc.ServerStreamingServer[auditv1.ComputeRadiusResponse]) error {
	ctx := stream.Context()
	own, err := practice(ctx)
	if err != nil {
		return err
	}
	q, err := radiusQuery(ctx, r.GetQuery())
	if err != nil {
		return err
	}
	recorder := evidence.From(ctx)
	event := recorder.Event()
	if err := s.incidents.Sink.Record(ctx, event); err != nil {
		return err
	}
	recorder.Committed([]*auditv1.Event{event})
	sum, err := radius.Compute(ctx, s.incidents.Store, own, q, func(p radius.Patient) error {
		return stream.Send(&auditv1.ComputeRadiusResponse{Item: &auditv1.ComputeRadiusResponse_Patient{Patient: describePatient(p)}})
	})
	if err != nil {
		return err
	}
	return stream.Send(&auditv1.ComputeRadiusResponse{Item: &auditv1.ComputeRadiusResponse_Summary{Summary: describeSummary(sum, q)}})
}

func describePatient(p radius.Patient) *auditv1.ExposedPatient {
	out := &auditv1.ExposedPatient{Patient: "patients/" + p.ID.String()}
	for _, r := range p.Resources {
		out.Resources = append(out.Resources, &auditv1.ExposedResource{
			Name: r.Name, Fields: slices.Sorted(maps.Keys(r.Fields)), Whole: r.Whole, Accesses: r.Accesses,
			FirstTime: timestamppb.New(r.First), LastTime: timestamppb.New(r.Last),
			Entries: &auditv1.EvidenceRange{FromSeq: r.FromSeq, ToSeq: r.LastSeq},
		})
	}
	return out
}

func describeSummary(s radius.Summary, q radius.Query) *auditv1.RadiusSummary {
	out := &auditv1.RadiusSummary{Patients: s.Patients, Accesses: s.Accesses, LogSize: s.LogSize, Unknown: []string{unknownLists, unknownLost}}
	if q.Key != uuid.Nil {
		out.Unknown = []string{unknownKey, unknownOut}
	}
	if s.Accesses > 0 {
		out.FirstTime, out.LastTime = timestamppb.New(s.First), timestamppb.New(s.Last)
		out.Entries = &auditv1.EvidenceRange{FromSeq: s.FromSeq, ToSeq: s.LastSeq}
	}
	return out
}
