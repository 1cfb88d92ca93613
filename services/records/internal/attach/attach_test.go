package attach

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
)

var pdf = []byte("%PDF-1.7\n")

// sealed is a PDF of n bytes as it is stored.
func sealed(t *testing.T, n int, aad []byte) (File, [][]byte) {
	t.Helper()
	f := File{MediaType: "application/pdf", Key: bytes.Repeat([]byte{7}, keySize)}
	var stored [][]byte
	out := &pieces{put: func(at int, b []byte) error {
		require.Len(t, stored, at)
		stored = append(stored, bytes.Clone(b))
		return nil
	}}
	content := append(bytes.Clone(pdf), make([]byte, n-len(pdf))...)
	require.NoError(t, seal(&f, aad, bytes.NewReader(content), out))
	require.EqualValues(t, n, f.Size)
	return f, stored
}

// opens returns what leaves of a stored file before it breaks off.
func opens(t *testing.T, f File, aad []byte, stored [][]byte) ([]byte, error) {
	t.Helper()
	o, err := open(f, aad, &reader{next: func(n int) ([]byte, error) {
		if n < len(stored) {
			return stored[n], nil
		}
		return nil, nil
	}})
	require.NoError(t, err)
	var out []byte
	for {
		chunk, err := o.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, chunk...)
	}
}

func TestFilesOfAllLengths(t *testing.T) {
	t.Parallel()
	aad := binding(uuid.New(), uuid.New(), uuid.New())
	for _, n := range []int{len(pdf), segment - 60, segment - 57, segment - 56, segment - 55, segment, segment + 1, piece, piece + 1, 3*piece + 17} {
		f, stored := sealed(t, n, aad)
		out, err := opens(t, f, aad, stored)
		require.NoError(t, err, n)
		require.Len(t, out, n)
		require.True(t, bytes.HasPrefix(out, pdf))
		for _, p := range stored {
			require.NotContains(t, string(p), "%PDF")
		}
	}
}

// What was changed, cut, put in another order, taken from another file or bound to
// somebody else breaks off, and nothing wrong leaves before; the last chunk never does.
func TestDH17_ABrokenFileBreaksOff(t *testing.T) {
	t.Parallel()
	practice, patient, document := uuid.New(), uuid.New(), uuid.New()
	aad := binding(practice, patient, document)
	n := 4*piece + 1000
	f, stored := sealed(t, n, aad)
	_, other := sealed(t, n, aad)
	flip := func(at, offset int) [][]byte {
		broken := slices.Clone(stored)
		broken[at] = bytes.Clone(stored[at])
		broken[at][offset] ^= 1
		return broken
	}
	swapped := slices.Clone(stored)
	swapped[1], swapped[2] = stored[2], stored[1]
	mixed := slices.Clone(stored)
	mixed[2] = other[2]
	short := slices.Clone(stored)
	short[4] = stored[4][:len(stored[4])-1]
	for name, broken := range map[string][][]byte{
		"first byte": flip(0, 0), "in the middle": flip(2, 77), "last byte": flip(4, len(stored[4])-1), "swapped": swapped,
		"of another file": mixed, "without its end": stored[:4], "one byte short": short, "without its start": stored[1:],
		"a piece is gone": slices.Concat(stored[:2], stored[3:]), "longer": append(slices.Clone(stored), other[4]), "nothing": nil,
		// On a boundary of segments and pieces, where only the mark of the last segment tells.
		"cut on a boundary": stored[:2],
	} {
		out, err := opens(t, f, aad, broken)
		require.Error(t, err, name)
		require.Less(t, len(out), n, name)
		require.True(t, bytes.Equal(out, append(bytes.Clone(pdf), make([]byte, n)...)[:len(out)]), name)
	}
	for _, other := range [][]byte{
		binding(uuid.New(), patient, document), binding(practice, uuid.New(), document), binding(practice, patient, uuid.New()),
	} {
		_, err := opens(t, f, other, stored)
		require.Error(t, err, "another practice, patient or document")
	}
	wrong := f
	wrong.SHA256 = "00"
	_, err := opens(t, wrong, aad, stored)
	require.Error(t, err, "the digest is another's")
}

// Recordings, pages and scripts are refused by what they are called and by what they are.
func TestDX01_MediaOfFilesIsAClosedList(t *testing.T) {
	t.Parallel()
	for mediaType := range accepted {
		require.NotRegexp(t, `^(audio|video|multipart|message)/|html|svg|script`, mediaType)
	}
	for name, c := range map[string]struct {
		mediaType, head, reason string
	}{
		"mp3":         {"audio/mpeg", "ID3\x03", "MEDIA_TYPE_REFUSED"},
		"mp4":         {"video/mp4", "\x00\x00\x00\x18ftypmp42", "MEDIA_TYPE_REFUSED"},
		"a chat":      {"application/json", `{"messages":[]}`, "MEDIA_TYPE_REFUSED"},
		"page":        {"text/html", "<html>", "MEDIA_TYPE_REFUSED"},
		"svg":         {"image/svg+xml", "<svg/>", "MEDIA_TYPE_REFUSED"},
		"upper case":  {"Application/PDF", "%PDF-1.7", "MEDIA_TYPE_REFUSED"},
		"hidden mp3":  {"application/pdf", "ID3\x03\x00", "CONTENT_MISMATCH"},
		"hidden mp4":  {"text/plain", "\x00\x00\x00\x18ftypmp42", "CONTENT_MISMATCH"},
		"hidden wav":  {"image/jpeg", "RIFF\x00\x00\x00\x00WAVEfmt ", "CONTENT_MISMATCH"},
		"hidden page": {"text/plain", "<!DOCTYPE html><html><script>", "CONTENT_MISMATCH"},
		"hidden svg":  {"text/plain", `<svg xmlns="http://www.w3.org/2000/svg">`, "CONTENT_MISMATCH"},
		"png as jpeg": {"image/jpeg", "\x89PNG\r\n\x1a\n", "CONTENT_MISMATCH"},
		"a program":   {"application/pdf", "\x7fELF\x02\x01\x01", "CONTENT_MISMATCH"},
	} {
		require.Equal(t, c.reason, errs.ReasonOf(checkContent(c.mediaType, []byte(c.head))), name)
	}
	for mediaType, head := range map[string]string{
		"application/pdf": "%PDF-1.7\n", "image/png": "\x89PNG\r\n\x1a\n", "image/jpeg": "\xff\xd8\xff\xe0", "image/tiff": "II*\x00",
		"text/plain": "Dear colleague,\n", "application/dicom": string(make([]byte, 128)) + "DICM",
	} {
		require.NoError(t, checkContent(mediaType, []byte(head)), mediaType)
	}
}

// The limit is exact: one byte more is refused.
func TestFilesHaveAtMost100MiB(t *testing.T) {
	t.Parallel()
	aad := binding(uuid.New(), uuid.New(), uuid.New())
	for n, want := range map[int64]string{MaxBytes: "", MaxBytes + 1: "DOCUMENT_TOO_LARGE"} {
		f := File{MediaType: "application/pdf", Key: make([]byte, keySize)}
		in := io.MultiReader(bytes.NewReader(pdf), io.LimitReader(zeros{}, n-int64(len(pdf))))
		err := seal(&f, aad, in, &pieces{put: func(int, []byte) error { return nil }})
		require.Equal(t, want, errs.ReasonOf(err))
		require.Equal(t, n, f.Size)
	}
	require.Equal(t, "DOCUMENT_EMPTY", errs.ReasonOf(seal(&File{MediaType: "text/plain"}, nil, bytes.NewReader(nil), nil)))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
