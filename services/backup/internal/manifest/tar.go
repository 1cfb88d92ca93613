package manifest

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
)

// Entry is one member of a backup's tar stream: a folder, or a file with content.
type Entry struct {
	Name   string // below the data directory
	Folder bool
	Body   io.Reader // nil for a folder
}

// Walk reads the tar stream of one tablespace, hands each member to use, and notes each
// file's size and SHA-256 in seen. Prefix is where the tablespace lies below the
// data directory ("" for the data directory itself). A name that leaves the folder, a
// name that comes twice and a member of another type end it.
func Walk(stream io.Reader, prefix string, seen map[string]File, use func(Entry) error) error {
	buffer := make([]byte, 256<<10)
	for archive := tar.NewReader(stream); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// Behind the end there is padding; reading it ends the stream's own checks.
			_, err = io.CopyBuffer(io.Discard, stream, buffer)
			return err
		}
		if err != nil {
			return err
		}
		e := Entry{Name: path.Join(prefix, path.Clean(head.Name)), Folder: head.Typeflag == tar.TypeDir}
		if !filepath.IsLocal(head.Name) || !e.Folder && head.Typeflag != tar.TypeReg {
			return fmt.Errorf("member %q has a name or a type that a base backup does not have", head.Name)
		}
		if e.Folder {
			if err := use(e); err != nil {
				return err
			}
			continue
		}
		if _, twice := seen[e.Name]; twice {
			return fmt.Errorf("member %q comes twice", e.Name)
		}
		sum := sha256.New()
		e.Body = io.TeeReader(archive, sum)
		if err := use(e); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(io.Discard, e.Body, buffer); err != nil {
			return err
		}
		seen[e.Name] = File{head.Size, [sha256.Size]byte(sum.Sum(nil))}
	}
}
