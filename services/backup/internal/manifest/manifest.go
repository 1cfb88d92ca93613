// Package manifest reads PostgreSQL's backup manifest and checks the files of a
// base backup against it, while they pass.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Manifest is what the server says that a backup holds.
type Manifest struct {
	Files map[string]File // by path below the data directory
	WAL   []Range
}

// File is one file's size and SHA-256.
type File struct {
	Size int64
	Sum  [sha256.Size]byte
}

// Range is a piece of write-ahead log that a restore needs.
type Range struct {
	Timeline   uint32
	Start, End LSN
}

// Parse reads a manifest, and checks its own checksum.
func Parse(raw []byte) (*Manifest, error) {
	var doc struct {
		Version int `json:"PostgreSQL-Backup-Manifest-Version"`
		Files   []struct {
			Path, Algorithm, Checksum string
			Encoded                   string `json:"Encoded-Path"`
			Size                      int64
			ChecksumAlgorithm         string `json:"Checksum-Algorithm"`
		}
		Ranges []struct {
			Timeline uint32
			Start    string `json:"Start-LSN"`
			End      string `json:"End-LSN"`
		} `json:"WAL-Ranges"`
		Checksum string `json:"Manifest-Checksum"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("backup manifest: %w", err)
	}
	if doc.Version != 1 && doc.Version != 2 {
		return nil, fmt.Errorf("backup manifest: version %d is not known", doc.Version)
	}
	if err := checkSelf(raw, doc.Checksum); err != nil {
		return nil, err
	}
	m := &Manifest{Files: make(map[string]File, len(doc.Files))}
	for _, f := range doc.Files {
		name := f.Path
		if f.Encoded != "" {
			decoded, err := hex.DecodeString(f.Encoded)
			if err != nil {
				return nil, fmt.Errorf("backup manifest: encoded path: %w", err)
			}
			name = string(decoded)
		}
		sum, err := hex.DecodeString(f.Checksum)
		if f.ChecksumAlgorithm != "SHA256" || err != nil || len(sum) != sha256.Size || f.Size < 0 {
			return nil, fmt.Errorf("backup manifest: %q has no SHA256 checksum and size", name)
		}
		if _, twice := m.Files[name]; twice || name == "" {
			return nil, fmt.Errorf("backup manifest: %q is listed twice or empty", name)
		}
		m.Files[name] = File{f.Size, [sha256.Size]byte(sum)}
	}
	for _, r := range doc.Ranges {
		start, errStart := ParseLSN(r.Start)
		end, errEnd := ParseLSN(r.End)
		if err := errors.Join(errStart, errEnd); err != nil || end < start {
			return nil, fmt.Errorf("backup manifest: WAL range %s to %s makes no sense", r.Start, r.End)
		}
		m.WAL = append(m.WAL, Range{r.Timeline, start, end})
	}
	if len(m.WAL) == 0 {
		return nil, errors.New("backup manifest: it names no WAL range")
	}
	return m, nil
}

// checkSelf checks the last line, which holds the SHA-256 of all lines before it.
func checkSelf(raw []byte, want string) error {
	end := bytes.LastIndexByte(bytes.TrimSuffix(raw, []byte("\n")), '\n')
	sum := sha256.Sum256(raw[:end+1])
	if got, err := hex.DecodeString(want); err != nil || !bytes.Equal(got, sum[:]) {
		return errors.New("backup manifest: its own checksum is wrong")
	}
	return nil
}

// Check compares the files that passed with the manifest, both ways.
func (m *Manifest) Check(seen map[string]File) error {
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		want, got := m.Files[name], seen[name]
		if _, ok := seen[name]; !ok {
			return fmt.Errorf("file %q of the manifest is missing", name)
		}
		if got.Size != want.Size {
			return fmt.Errorf("file %q has %d bytes, the manifest says %d", name, got.Size, want.Size)
		}
		if got.Sum != want.Sum {
			return fmt.Errorf("file %q has another SHA-256 than the manifest says", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		// The log is not in the manifest: it has checksums of its own and a range.
		if _, ok := m.Files[name]; !ok && !strings.HasPrefix(name, "pg_wal/") {
			return fmt.Errorf("file %q is not in the manifest", name)
		}
	}
	return m.checkWAL(seen)
}

// checkWAL sees that every segment which recovery needs is there, whole. A
// backup without its log looks finished and does not start.
func (m *Manifest) checkWAL(seen map[string]File) error {
	var size uint64
	for name, f := range seen {
		if path.Dir(name) == "pg_wal" && len(path.Base(name)) == 24 {
			size = max(size, uint64(f.Size))
		}
	}
	if size < 1<<20 || size&(size-1) != 0 {
		return errors.New("the backup holds no whole WAL segment")
	}
	for _, r := range m.WAL {
		for at := uint64(r.Start) / size; at*size < uint64(r.End); at++ {
			name := "pg_wal/" + SegmentName(r.Timeline, at, size)
			if got, ok := seen[name]; !ok || uint64(got.Size) != size {
				return fmt.Errorf("WAL segment %q is missing or cut, and the backup cannot be recovered without it", name)
			}
		}
	}
	return nil
}

// SegmentName is the file name of the WAL segment with the given number.
func SegmentName(timeline uint32, number, size uint64) string {
	perID := uint64(1) << 32 / size
	return fmt.Sprintf("%08X%08X%08X", timeline, number/perID, number%perID)
}

// LSN is a position in the write-ahead log.
type LSN uint64

// ParseLSN reads "16/B374D848".
func ParseLSN(text string) (LSN, error) {
	high, low, ok := strings.Cut(text, "/")
	h, errHigh := strconv.ParseUint(high, 16, 32)
	l, errLow := strconv.ParseUint(low, 16, 32)
	if !ok || errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("%q is not a WAL position", text)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }
