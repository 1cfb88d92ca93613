package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/store"
	"github.com/carekeep/carekeep/services/records/internal/upkeep"
)

// Keys implements the keys API.
type Keys struct {
	recordsv1.UnimplementedKeysServiceServer
	upkeep *upkeep.Upkeep
}

// NewKeys makes it.
func NewKeys(u *upkeep.Upkeep) *Keys { return &Keys{upkeep: u} }

// practice is the caller's practice, whose keys alone these RPCs touch.
func practice(ctx context.Context) uuid.UUID {
	if c, ok := caller.From(ctx); ok {
		return c.Practice
	}
	return uuid.Nil
}

// GetKeyStatus implements the RPC.
func (k *Keys) GetKeyStatus(ctx context.Context, _ *recordsv1.GetKeyStatusRequest) (*recordsv1.KeyStatus, error) {
	s, err := k.upkeep.Status(ctx, practice(ctx))
	return showStatus(s, err)
}

// RotatePracticeKey implements the RPC.
func (k *Keys) RotatePracticeKey(ctx context.Context, _ *recordsv1.RotatePracticeKeyRequest) (*recordsv1.KeyJob, error) {
	return showJob(k.upkeep.RotatePractice(ctx, practice(ctx)))
}

// RotateDataKey implements the RPC.
func (k *Keys) RotateDataKey(ctx context.Context, r *recordsv1.RotateDataKeyRequest) (*recordsv1.KeyJob, error) {
	patient := uuid.Nil
	if r.GetPatient() != "" {
		var err error
		if patient, err = patientID("patient", r.GetPatient()); err != nil {
			return nil, err
		}
	}
	return showJob(k.upkeep.RotateDataKey(ctx, practice(ctx), patient))
}

// RewrapKeys implements the RPC.
func (k *Keys) RewrapKeys(ctx context.Context, _ *recordsv1.RewrapKeysRequest) (*recordsv1.KeyJob, error) {
	return showJob(k.upkeep.StartRewrap(ctx, practice(ctx)))
}

// TrimPracticeKey implements the RPC.
func (k *Keys) TrimPracticeKey(ctx context.Context, _ *recordsv1.TrimPracticeKeyRequest) (*recordsv1.KeyStatus, error) {
	if err := k.upkeep.Trim(ctx, practice(ctx)); err != nil {
		return nil, err
	}
	return showStatus(k.upkeep.Status(ctx, practice(ctx)))
}

// ScrubStore implements the RPC.
func (k *Keys) ScrubStore(ctx context.Context, _ *recordsv1.ScrubStoreRequest) (*recordsv1.KeyJob, error) {
	return showJob(k.upkeep.StartScrub(ctx, practice(ctx)))
}

// GetKeyJob implements the RPC.
func (k *Keys) GetKeyJob(ctx context.Context, r *recordsv1.GetKeyJobRequest) (*recordsv1.KeyJob, error) {
	list, err := ids("name", r.GetName(), "keyJobs")
	if err != nil {
		return nil, err
	}
	return showJob(k.upkeep.Job(ctx, practice(ctx), list[0]))
}

const defaultJobs = 50

// ListKeyJobs implements the RPC. A page token is the id of the last job before it.
func (k *Keys) ListKeyJobs(ctx context.Context, r *recordsv1.ListKeyJobsRequest) (*recordsv1.ListKeyJobsResponse, error) {
	before, size := uuid.Max, int(r.GetPageSize())
	if size == 0 {
		size = defaultJobs
	}
	if r.GetPageToken() != "" {
		var err error
		if before, err = uuid.Parse(r.GetPageToken()); err != nil {
			return nil, errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID", "The page token is none that a list gave.").
				WithField("page_token", "must come from the page before")
		}
	}
	jobs, err := k.upkeep.Jobs(ctx, practice(ctx), before, size)
	if err != nil {
		return nil, err
	}
	out := &recordsv1.ListKeyJobsResponse{Jobs: showJobs(jobs)}
	if len(jobs) == size {
		out.NextPageToken = jobs[size-1].ID.String()
	}
	return out, nil
}

func showJob(j store.Job, err error) (*recordsv1.KeyJob, error) {
	if err != nil {
		return nil, err
	}
	return &recordsv1.KeyJob{
		Name: "keyJobs/" + j.ID.String(), Total: j.Total, Done: j.Done, Broken: j.Broken,
		Kind:       recordsv1.KeyJob_Kind(recordsv1.KeyJob_Kind_value["KIND_"+j.Kind]),
		State:      recordsv1.KeyJob_State(recordsv1.KeyJob_State_value["STATE_"+j.State]),
		CreateTime: timestamppb.New(j.Created), UpdateTime: timestamppb.New(j.Updated),
	}, nil
}

func showJobs(list []store.Job) []*recordsv1.KeyJob {
	out := make([]*recordsv1.KeyJob, len(list))
	for i, j := range list {
		out[i], _ = showJob(j, nil)
	}
	return out
}

func showStatus(s upkeep.Status, err error) (*recordsv1.KeyStatus, error) {
	if err != nil {
		return nil, err
	}
	out := &recordsv1.KeyStatus{
		MinDecryptionVersion: int32(s.Key.MinDecryption), //nolint:gosec // a version, far below 2^31
		DataKeys:             s.Figures.Keys, MostSeals: s.Figures.MostSeals, DataKeysDue: s.Figures.Due,
		RotationDueTime: timestamppb.New(s.RotationDue), RunningJobs: showJobs(s.Running),
	}
	if s.Figures.Oldest != nil {
		out.OldestDataKeyTime = timestamppb.New(*s.Figures.Oldest)
	}
	if !s.TrimDue.IsZero() {
		out.TrimDueTime = timestamppb.New(s.TrimDue)
	}
	for version := s.Key.MinAvailable; version <= s.Key.Latest; version++ {
		v := &recordsv1.KeyStatus_Version{Version: int32(version), CreateTime: timestamppb.New(s.Key.Created[version])} //nolint:gosec // as above
		for _, w := range s.Wraps {
			if w.Version == version {
				v.WrappedKeys = w.Keys
			}
		}
		for _, known := range s.Versions {
			if known.Version == version && !known.Rewrapped.IsZero() {
				v.RewrapTime = timestamppb.New(known.Rewrapped)
			}
		}
		out.Versions = append(out.Versions, v)
	}
	return out, nil
}
