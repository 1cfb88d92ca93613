package archive

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncTrees syncs the file systems below the folders in one call each, which is many
// times faster than each of thousands of files. It reports write errors since Linux 5.8.
func syncTrees(dirs []string) error {
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (*target) syncFile(*os.File) error { return nil }
