// Package app puts the parts of backup together: settings, connections, the gRPC
// server and the relay beside it. It holds no rules of its own.
package app

import (
	"github.com/carekeep/carekeep/libs/config"
	"github.com/carekeep/carekeep/libs/mtls"
	"github.com/carekeep/carekeep/libs/outbox"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/libs/server"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/replication"
)

// Settings is the configuration file; config/backup.example.yaml explains it.
type Settings struct {
	Server      server.Config      `yaml:",inline"`
	Database    pg.Config          `yaml:"database" config:"required"`
	Broker      outbox.Broker      `yaml:"broker" config:"required"`
	Transit     transit.Config     `yaml:"transit" config:"required"`
	Replication replication.Config `yaml:"replication" config:"required"`
	// StorageDir is where backups go.
	StorageDir config.Path `yaml:"storage_dir" config:"required"`
	// Restore is where and as whom restores run; without it they are refused.
	Restore *Restore `yaml:"restore"`
}

// Restore needs an identity of its own: that of the service cannot read backups.
type Restore struct {
	// Root is the folder below which RestoreBackup makes new folders.
	Root    config.Path `yaml:"root" config:"required"`
	TLS     mtls.Files  `yaml:"tls" config:"required"`
	Transit RestoreRole `yaml:"transit"`
}

// RestoreRole is the transit role of restores.
type RestoreRole struct {
	Role string `yaml:"role"` // default backup-restore
}

// Validate fills in the default.
func (r *RestoreRole) Validate() error {
	if r.Role == "" {
		r.Role = "backup-restore"
	}
	return nil
}
