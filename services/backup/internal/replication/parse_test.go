package replication

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessagesOfTheCopyStream(t *testing.T) {
	for text, want := range map[string]message{
		"dabc":                              {kind: kindData, data: []byte("abc")},
		"m":                                 {kind: kindManifest},
		"p\x00\x00\x00\x00\x00\x00\x00\x09": {kind: kindProgress},
		"nbase.tar\x00\x00":                 {kind: kindArchive},
		"n16399.tar\x00/mnt/a b\x00":        {kind: kindArchive, tablespace: "16399", location: "/mnt/a b"},
	} {
		got, err := parse([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "x", "mx", "p", "p\xff\x00\x00\x00\x00\x00\x00\x00", "n", "nbase.tar", "nbase.tar\x00", "nbase.tar\x00\x00x", "nbase.tar.gz\x00\x00",
		"n../1.tar\x00/mnt\x00", "n1.tar\x00mnt\x00", "n.tar\x00/mnt\x00",
	} {
		_, err := parse([]byte(text))
		require.Error(t, err, "%q", text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("nbase.tar\x00\x00"))
	f.Add([]byte("n16399.tar\x00/mnt\x00"))
	f.Add([]byte("dabc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err == nil && m.kind == kindArchive {
			require.NotContains(t, m.tablespace, "/")
		}
	})
}
