//go:build !linux

package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// syncTrees syncs every folder; the files were synced when they were written.
func syncTrees(dirs []string) error {
	for _, dir := range dirs[:1] {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			return syncFolder(path)
		})
		if err != nil {
			return err
		}
	}
	for _, dir := range dirs[1:] {
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (*target) syncFile(f *os.File) error { return f.Sync() }
