// Package api is the gRPC face of backup: it names things, records who asked, and
// hands on to the archive.
package api

import (
	"context"
	"encoding/base64"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/services/backup/internal/archive"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

// RestoreDisabled is what a service without a restore identity says.
const RestoreDisabled = "restores are not set up here: the configuration has no restore section"

const (
	collection = "backups/"
	pageSize   = 50
	// tellEvery bounds how many progress messages a stream carries.
	tellEvery  = 500 * time.Millisecond
	recordTime = 5 * time.Second
)

// Service implements BackupService.
type Service struct {
	backupv1.UnimplementedBackupServiceServer
	Backups *archive.Archive
	Primary replication.Primary
	Keys    archive.Wrapper
	Sink    evidence.Sink
	// RestoreRoot and RestoreKeys are empty where restores are not set up.
	RestoreRoot string
	RestoreKeys archive.Unwrapper

	// One at a time: two backups of one cluster only slow each other and the cluster down.
	creating, restoring sync.Mutex
}

// CreateBackup implements the RPC.
func (s *Service) CreateBackup(_ *backupv1.CreateBackupRequest, stream grpc.ServerStreamingServer[backupv1.CreateBackupResponse]) error {
	if !s.creating.TryLock() {
		return errs.New(errs.KindConflict, "BACKUP_RUNNING", "a backup is running already").WithRetry(time.Minute)
	}
	defer s.creating.Unlock()
	tell := throttle(func(done archive.Progress) error {
		return stream.Send(&backupv1.CreateBackupResponse{SourceBytes: done.Bytes})
	})
	b, err := s.Backups.Create(stream.Context(), s.Primary, s.Keys, func(source int64) { tell(archive.Progress{Bytes: source}) })
	if err != nil {
		return err
	}
	if err := s.record(stream.Context(), b.ID); err != nil {
		return err
	}
	return stream.Send(&backupv1.CreateBackupResponse{SourceBytes: b.SourceBytes, Backup: message(b)})
}

// GetBackup implements the RPC.
func (s *Service) GetBackup(ctx context.Context, req *backupv1.GetBackupRequest) (*backupv1.Backup, error) {
	id, err := parseName(req.GetName())
	if err != nil {
		return nil, err
	}
	b, err := s.Backups.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return message(b), s.record(ctx, id)
}

// ListBackups implements the RPC. The token names the last backup of the page before.
func (s *Service) ListBackups(ctx context.Context, req *backupv1.ListBackupsRequest) (*backupv1.ListBackupsResponse, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = pageSize
	}
	list, err := s.Backups.List(ctx)
	if err != nil {
		return nil, err
	}
	if token := req.GetPageToken(); token != "" {
		if list, err = after(list, token); err != nil {
			return nil, err
		}
	}
	resp := &backupv1.ListBackupsResponse{}
	for _, b := range list[:min(size, len(list))] {
		resp.Backups = append(resp.Backups, message(b))
	}
	if len(list) > size {
		resp.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(list[size-1].ID.String()))
	}
	return resp, nil
}

func after(list []*archive.Backup, token string) ([]*archive.Backup, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		for i, b := range list {
			if b.ID.String() == string(raw) {
				return list[i+1:], nil
			}
		}
	}
	return nil, errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID", "the page token is not one of this list").
		WithField("page_token", "use next_page_token of the page before, or leave it out to begin again")
}

// RestoreBackup implements the RPC.
func (s *Service) RestoreBackup(req *backupv1.RestoreBackupRequest, stream grpc.ServerStreamingServer[backupv1.RestoreBackupResponse]) error {
	id, err := parseName(req.GetName())
	if err != nil {
		return err
	}
	if s.RestoreKeys == nil {
		return errs.New(errs.KindPrecondition, "RESTORE_DISABLED", RestoreDisabled)
	}
	if !filepath.IsLocal(req.GetTarget()) || strings.ContainsAny(req.GetTarget(), `/\`) {
		return errs.New(errs.KindInvalid, "TARGET_INVALID", "the target is the name of one folder").WithField("target", "must hold no path")
	}
	if !s.restoring.TryLock() {
		return errs.New(errs.KindConflict, "RESTORE_RUNNING", "a restore is running already").WithRetry(time.Minute)
	}
	defer s.restoring.Unlock()
	// Recorded before the first byte is opened: a restore reads every patient's data.
	if err := s.record(stream.Context(), id); err != nil {
		return err
	}
	send := func(done archive.Progress, finished bool) error {
		return stream.Send(&backupv1.RestoreBackupResponse{RestoredBytes: done.Bytes, RestoredFiles: done.Files, Done: finished})
	}
	var last archive.Progress
	tell := throttle(func(done archive.Progress) error { return send(done, false) })
	_, err = s.Backups.Restore(stream.Context(), id, filepath.Join(s.RestoreRoot, req.GetTarget()), s.RestoreKeys, func(done archive.Progress) {
		last = done
		tell(done)
	})
	if err != nil {
		return err
	}
	return send(last, true)
}

// record leaves an event that names the backup; the server's own would not. It does not
// end with the request: a backup that is made is recorded, also when the client is gone.
func (s *Service) record(ctx context.Context, id uuid.UUID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	return s.Sink.Record(ctx, evidence.From(ctx).Event(evidence.Resource(collection+id.String(), 0)))
}

// throttle passes progress on now and then. A client that is gone shows in the stream's context.
func throttle(send func(archive.Progress) error) func(archive.Progress) {
	var next time.Time
	return func(done archive.Progress) {
		if now := time.Now(); now.After(next) {
			next = now.Add(tellEvery)
			_ = send(done)
		}
	}
}

func parseName(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(strings.TrimPrefix(name, collection))
	if err != nil || collection+id.String() != name {
		return uuid.Nil, errs.New(errs.KindInvalid, "NAME_INVALID", "that is not the name of a backup").WithField("name", "must be like backups/{uuid}")
	}
	return id, nil
}

func message(b *archive.Backup) *backupv1.Backup {
	return &backupv1.Backup{
		Name: collection + b.ID.String(), StartTime: timestamppb.New(b.Start), EndTime: timestamppb.New(b.End),
		SourceBytes: b.SourceBytes, StoredBytes: b.StoredBytes, FileCount: b.Files,
		StartLsn: b.StartLSN, StopLsn: b.StopLSN, SystemId: b.System, PostgresVersion: int32(b.Postgres),
	}
}
