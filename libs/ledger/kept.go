package ledger

import (
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// KeptSuffix ends the name of a file that holds one signed checkpoint.
const KeptSuffix = ".note"

// ReadKept reads all checkpoints that were kept in a folder and the folders below it.
// One whose signature does not verify is an error: what is trusted must be right.
func ReadKept(folder fs.FS, known note.Verifiers) ([]Checkpoint, error) {
	var kept []Checkpoint
	err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, KeptSuffix) {
			return err
		}
		text, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		c, err := OpenCheckpoint(string(text), known)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		kept = append(kept, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kept checkpoints: %w", err)
	}
	return kept, nil
}
