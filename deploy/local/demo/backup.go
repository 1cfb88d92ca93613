package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/seed"
	backupv1 "github.com/carekeep/carekeep/gen/carekeep/backup/v1"
)

func (s *story) backUp(ctx context.Context) (string, error) {
	operator, err := s.as(ctx, seed.Superadmin)
	if err != nil {
		return "", err
	}
	// What was signed until now must be in the backup; what comes later need not be.
	if s.kept, err = s.keep("backup"); err != nil {
		return "", err
	}
	var made *backupv1.Backup
	err = api.Stream(ctx, operator, "/v1/backups", &backupv1.CreateBackupRequest{}, newOf[backupv1.CreateBackupResponse],
		func(m *backupv1.CreateBackupResponse) error {
			if m.GetBackup() != nil {
				made = m.GetBackup()
			}
			return nil
		})
	if err != nil {
		return "", err
	}
	if made == nil {
		return "", errors.New("the answer ended before the backup was finished")
	}
	var found backupv1.Backup
	if err := operator.Call(ctx, http.MethodGet, "/v1/"+made.GetName(), nil, &found); err != nil {
		return "", err
	}
	s.backup = made.GetName()
	return fmt.Sprintf("%s: %d files, %s, stored as %s, from %s to %s", made.GetName(), made.GetFileCount(),
		amount(made.GetSourceBytes()), amount(made.GetStoredBytes()), made.GetStartLsn(), made.GetStopLsn()), nil
}

func newOf[M any]() *M { return new(M) }
