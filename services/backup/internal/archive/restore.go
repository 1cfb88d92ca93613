package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/backup/internal/manifest"
	"github.com/carekeep/carekeep/services/backup/internal/seal"
)

// control is written last of all: PostgreSQL does not start without it, so a
// restore that did not finish cannot be taken for one that did.
const control = "global/pg_control"

// maxHeld bounds the files that a restore holds in memory: pg_control, tablespace_map.
const maxHeld = 1 << 20

// Progress is what a restore has written.
type Progress struct{ Bytes, Files int64 }

// Restore writes a backup into the folder to, which must be empty or absent;
// tablespaces go beside it, to "{to}-tablespaces/{object id}". It returns nil only when every
// object is authenticated, every file matches the manifest, and all is synced.
// After an error it removes what it wrote.
func (a *Archive) Restore(ctx context.Context, id uuid.UUID, to string, keys Unwrapper, progress func(Progress)) (*Backup, error) {
	commit, err := a.find(ctx, id)
	if err != nil {
		return nil, err
	}
	b, check, err := a.commit(ctx, commit)
	if err != nil {
		return nil, err
	}
	key, err := unwrap(ctx, b, keys)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	if err := check(key); err != nil {
		return nil, broken(commit, err)
	}
	m, raw, err := a.readManifest(ctx, b, key)
	if err != nil {
		return nil, err
	}
	target, err := openTarget(to)
	if err != nil {
		return nil, err
	}
	r := &restore{
		archive: a, backup: b, key: key, target: target, progress: progress,
		seen: map[string]manifest.File{}, held: map[string][]byte{},
	}
	if err := errors.Join(r.run(ctx, m, raw), target.close()); err != nil {
		return nil, errors.Join(err, target.remove())
	}
	return b, nil
}

func unwrap(ctx context.Context, b *Backup, keys Unwrapper) (*seal.Key, error) {
	plain, err := keys.Decrypt(ctx, transit.Backup, []string{b.Wrapped})
	if errs.KindOf(err) == errs.KindDenied {
		return nil, errs.Wrap(err, errs.KindPrecondition, "RESTORE_NOT_ALLOWED",
			"this identity may not unwrap backups: restore with one whose Vault policy has transit/decrypt/backup (backup-restore.hcl)")
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap the backup's data key: %w", err)
	}
	return seal.NewKey(plain[0], b.Wrapped)
}

func (a *Archive) readManifest(ctx context.Context, b *Backup, key *seal.Key) (*manifest.Manifest, []byte, error) {
	var text bytes.Buffer
	err := a.read(ctx, b, key, b.Manifest, func(r io.Reader) error {
		n, err := io.Copy(&text, io.LimitReader(r, maxManifest))
		if err == nil && n == maxManifest {
			err = errors.New("the manifest is too large")
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Parse(text.Bytes())
	if err != nil {
		return nil, nil, broken(b.Manifest.Key, err)
	}
	return m, text.Bytes(), nil
}

type restore struct {
	archive  *Archive
	backup   *Backup
	key      *seal.Key
	target   *target
	progress func(Progress)

	done Progress
	seen map[string]manifest.File
	held map[string][]byte // written at the end
}

func (r *restore) run(ctx context.Context, m *manifest.Manifest, raw []byte) error {
	for _, space := range r.backup.Spaces {
		if err := r.space(ctx, space); err != nil {
			return err
		}
	}
	if err := m.Check(r.seen); err != nil {
		return broken(r.backup.Manifest.Key, err)
	}
	for _, name := range []string{control, "backup_label"} {
		if _, ok := r.seen[name]; !ok {
			return broken(r.backup.Manifest.Key, fmt.Errorf("%s is missing", name))
		}
	}
	if text, ok := r.held["tablespace_map"]; ok {
		moved, err := r.moveTablespaces(string(text))
		if err != nil {
			return broken(r.backup.Manifest.Key, err)
		}
		r.held["tablespace_map"] = []byte(moved)
	}
	r.held["backup_manifest"] = raw // for pg_verifybackup
	last := r.held[control]
	delete(r.held, control)
	for name, content := range r.held {
		if _, err := r.target.write(name, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	if err := r.target.sync(); err != nil {
		return err
	}
	if _, err := r.target.write(control, bytes.NewReader(last)); err != nil {
		return err
	}
	return r.target.sync()
}

// space restores one tablespace from its parts.
func (r *restore) space(ctx context.Context, s Space) error {
	prefix := ""
	if s.ID != "" {
		if strings.Trim(s.ID, "0123456789") != "" {
			return fmt.Errorf("tablespace %q is not an object id", s.ID)
		}
		prefix = "pg_tblspc/" + s.ID
		if err := r.target.tablespace(s.ID); err != nil {
			return err
		}
	}
	stream := r.archive.open(ctx, r.backup, r.key, s.Parts)
	defer stream.close()
	err := manifest.Walk(stream, prefix, r.seen, r.member)
	if failed := stream.failure(); failed != nil {
		return failed
	}
	if err == nil {
		return ctx.Err()
	}
	var local *localError
	if errors.As(err, &local) || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return broken(s.Parts[0].Key, err) // authenticated, and yet not a tar stream of a base backup
}

func (r *restore) member(e manifest.Entry) error {
	var n int64
	var err error
	switch e.Name {
	case control, "tablespace_map":
		var content []byte
		content, err = io.ReadAll(io.LimitReader(e.Body, maxHeld))
		if n = int64(len(content)); n == maxHeld {
			return fmt.Errorf("%s is too large", e.Name)
		}
		r.held[e.Name] = content
	default:
		if e.Folder {
			return r.target.folder(e.Name)
		}
		n, err = r.target.write(e.Name, e.Body)
	}
	if err != nil {
		return err
	}
	r.done.Bytes += n
	r.done.Files++
	r.progress(r.done)
	return nil
}

// moveTablespaces points each tablespace at its restored folder. The lines are
// "{object id} {location}", with line ends in a location escaped by a backslash.
func (r *restore) moveTablespaces(text string) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		id, _, ok := strings.Cut(line, " ")
		place, known := r.target.spaces[id]
		if !ok || !known {
			return "", fmt.Errorf("tablespace_map: line %q belongs to no tablespace of the backup", line)
		}
		escaped := strings.NewReplacer(`\`, `\\`, "\n", "\\\n", "\r", "\\\r").Replace(place)
		fmt.Fprintf(&out, "%s %s\n", id, escaped)
	}
	if n := strings.Count(out.String(), "\n"); n != len(r.target.spaces) {
		return "", fmt.Errorf("tablespace_map has %d lines for %d tablespaces", n, len(r.target.spaces))
	}
	return out.String(), nil
}

// absolute is where a restore may go: an empty or absent folder.
func absolute(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("restore target: %w", err)
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return path, nil
	case err != nil:
		return "", fmt.Errorf("restore target: %w", err)
	case len(entries) > 0:
		return "", errs.New(errs.KindPrecondition, "RESTORE_TARGET_NOT_EMPTY",
			"the restore target holds files already: name an empty or new folder; a restore never overwrites")
	}
	return path, nil
}
